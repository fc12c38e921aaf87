//! `cais diff`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::NameArgs;
use cais_engine::diff::changes;
use cais_engine::list;
use cais_engine::options::RootSource;
use std::path::PathBuf;

pub(crate) fn diff(args: &NameArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let container = list::container(&engine.store, &args.container)?;
    let lower = match &container.record.options.root {
        RootSource::Host => vec![PathBuf::from("/")],
        RootSource::Image { layers, .. } => layers.clone(),
        RootSource::Directory {
            path,
            writable: false,
        } => vec![path.clone()],
        RootSource::Directory { path, .. } => {
            let text = format!(
                "the container writes into {} itself, so nothing tells what it changed",
                path.display()
            );
            return Err(Failure::new(text));
        }
    };
    let upper = engine.store.container(&container.record.id).join("upper");
    let mut text = String::new();
    for (path, change) in changes(&upper, &lower)? {
        text.push_str(&format!("{} {}\n", change.letter(), path.display()));
    }
    print(&text)?;
    Ok(0)
}
