//! `cais diff`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::NameArgs;
use cais_engine::diff::changes_of;
use cais_engine::list;

pub(crate) fn diff(args: &NameArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let container = list::container(&engine.store, &args.container)?;
    let mut text = String::new();
    for (path, change) in changes_of(&engine, &container)? {
        text.push_str(&format!("{} {}\n", change.letter(), path.display()));
    }
    print(&text)?;
    Ok(0)
}
