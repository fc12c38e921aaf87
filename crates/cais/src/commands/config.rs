//! `cais config`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::{ConfigCommand, ConfigShowArgs};
use cais::template::Format;
use cais_engine::config::KEYS;
use cais_json::json;

pub(crate) fn config(command: &ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Show(args) => show(args),
    }
}

fn show(args: &ConfigShowArgs) -> Result<u8, Failure> {
    let format = Format::parse(
        args.format.as_deref(),
        "{{.Key}}\t{{.Value}}\t{{.Origin}}\t{{.Description}}",
    )?;
    let config = engine()?.config;
    let rows: Vec<_> = KEYS
        .iter()
        .map(|key| {
            let (value, origin) = key.shown(&config);
            json!({
                "Key": key.name,
                "Value": value,
                "Origin": origin.to_string(),
                "Variable": key.variable,
                "Description": key.help,
            })
        })
        .collect();
    print(&format.render(rows, &[])?)?;
    Ok(0)
}
