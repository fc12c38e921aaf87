//! What went into an image, and why.

use crate::commands::image::familiar;
use crate::failure::Failure;
use crate::output::human_size as size;
use crate::output::print;
use cais::cli::PackArgs;
use cais_engine::images::PackedImage;
use cais_image::pack::{Collected, Item, Reason};
use cais_json::{Value, json};
use rustix::fs::FileType;
use std::path::Path;

/// Prints the report.
pub(super) fn show(
    args: &PackArgs,
    collected: &Collected,
    packed: Option<&PackedImage>,
) -> Result<(), Failure> {
    if args.format == "json" {
        return print(&format!("{}\n", to_json(collected, packed)));
    }
    let mut text = String::new();
    let mut count = 0u64;
    let mut bytes = 0u64;
    for (path, item) in shown(collected) {
        let (kind, length) = match item.node.kind {
            FileType::Symlink => ("link", "-".to_owned()),
            FileType::Directory => ("directory", "-".to_owned()),
            _ => ("file", size(item.node.size)),
        };
        if kind == "file" {
            count += 1;
            bytes += item.node.size;
        }
        let target = item
            .node
            .target
            .as_deref()
            .map(|target| format!(" -> {}", target.display()));
        let target = target.unwrap_or_default();
        text += &format!(
            "{length:>7}  {}{target}  ({})\n",
            path.display(),
            why(&item.reasons)
        );
    }
    text += &format!("{count} files, {}\n", size(bytes));
    if let Some(packed) = packed {
        text += &format!("Image ID: {}\n", packed.id);
        if let Some(name) = &packed.name {
            text += &format!("Packed image: {}\n", familiar(name));
        }
    }
    print(&text)
}

/// Everything but directories that are only on the way.
fn shown(collected: &Collected) -> impl Iterator<Item = (&Path, &Item)> {
    collected
        .set
        .iter()
        .map(|(path, item)| (path.as_path(), item))
        .filter(|(_, item)| !item.reasons.is_empty())
}

fn why(reasons: &[Reason]) -> String {
    let mut reasons = reasons.iter();
    let first = reasons.next().map(ToString::to_string).unwrap_or_default();
    match reasons.len() {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}

fn to_json(collected: &Collected, packed: Option<&PackedImage>) -> Value {
    let files: Vec<Value> = shown(collected)
        .map(|(path, item)| {
            let reasons: Vec<Value> = item
                .reasons
                .iter()
                .map(|reason| match reason.about() {
                    Some(about) => json!({"why": reason.word(), "of": about}),
                    None => json!({"why": reason.word()}),
                })
                .collect();
            let kind = match item.node.kind {
                FileType::Symlink => "link",
                FileType::Directory => "directory",
                _ => "file",
            };
            let mut file = json!({
                "path": path.to_string_lossy(),
                "type": kind,
                "size": item.node.size,
                "reasons": reasons,
            });
            if let Some(target) = &item.node.target {
                file["target"] = json!(target.to_string_lossy());
            }
            file
        })
        .collect();
    json!({
        "name": packed.and_then(|packed| packed.name.as_deref()).map(familiar),
        "id": packed.map(|packed| &packed.id),
        "digest": packed.map(|packed| &packed.digest),
        "size": packed.map(|packed| packed.size),
        "programs": collected.programs.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "warnings": collected.warnings,
        "secrets": collected.secrets.iter().map(|secret| {
            json!({"path": secret.path.to_string_lossy(), "why": secret.why})
        }).collect::<Vec<_>>(),
        "files": files,
    })
}
