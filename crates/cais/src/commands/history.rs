//! `cais history`.

use super::engine;
use super::images::id;
use crate::failure::Failure;
use crate::output::{human_size, print, whole_seconds};
use cais::cli::HistoryArgs;
use cais::template::{Format, Listing};
use cais_engine::EngineError;
use cais_engine::describe::since;
use cais_engine::images;
use cais_json::{Value, json};
use std::time::SystemTime;

const TABLE: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const TABLE_IN_FULL: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HEADINGS: [(&str, &str); 2] = [("ID", "IMAGE"), ("CreatedSince", "CREATED")];

pub(crate) fn history(args: &HistoryArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let store = images::open(&engine)?;
    let image = images::find(&store, &args.image)?;
    let listing = Listing {
        table: if args.human { TABLE } else { TABLE_IN_FULL },
        id: "ID",
        raw: &[],
    };
    let format = Format::of_list(args.format.as_deref(), args.quiet, &listing)?;
    let config = store
        .config(&image.id)
        .map_err(EngineError::image("read the image's configuration"))?;
    let found = store
        .find_layers(&image.diff_ids)
        .map_err(EngineError::image("find the layers of the image"))?;
    let mut layers = found.iter();
    let now = SystemTime::now();
    let mut rows: Vec<Value> = Vec::new();
    for step in &config.history {
        let layer = match step.empty_layer {
            true => None,
            false => layers.next().and_then(Option::as_ref),
        };
        let meta = layer.and_then(|layer| store.layer_meta(layer).ok().flatten());
        let bytes = meta.map_or(0, |meta| meta.size);
        let by = step
            .created_by
            .clone()
            .unwrap_or_default()
            .replace(['\t', '\n'], " ");
        let by = if args.no_trunc || by.chars().count() <= 45 {
            by
        } else {
            by.chars().take(44).collect::<String>() + "…"
        };
        let created = step.created.as_deref();
        let ago = created.map(|created| format!("{} ago", since(created, now)));
        rows.push(json!({
            "Comment": step.comment.clone().unwrap_or_default(),
            "CreatedAt": created.map_or_else(|| "N/A".to_owned(), whole_seconds),
            "CreatedBy": by,
            "CreatedSince": ago.unwrap_or_else(|| "N/A".to_owned()),
            "ID": "<missing>",
            "Size": if args.human { human_size(bytes) } else { bytes.to_string() },
        }));
    }
    rows.reverse();
    if let Some(first) = rows.first_mut() {
        first["ID"] = id(&image.id, args.no_trunc).into();
    }
    print(&format.render(rows, &HEADINGS)?)?;
    Ok(0)
}
