//! `cais top`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::TopArgs;
use cais_engine::list;
use cais_engine::top::read_processes;

/// The width of a column at least, and the space behind it, as Docker's.
const WIDTH: usize = 20;
const SPACE: usize = 3;

pub(crate) fn top(args: &TopArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let container = list::container(&engine.store, &args.container)?;
    let table = read_processes(&container, &args.options)?;
    let lines: Vec<&Vec<String>> = std::iter::once(&table.titles).chain(&table.rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        (longest + SPACE).max(WIDTH)
    };
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                let missing = width(column).saturating_sub(cell.chars().count());
                text.push_str(&" ".repeat(missing));
            }
        }
        text.push('\n');
    }
    print(&text)?;
    Ok(0)
}
