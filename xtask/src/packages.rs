//! A budget for the packages in Cargo.lock: each is code that somebody must trust.

use crate::{Outcome, workspace};

const BUDGET: usize = 150;

pub(crate) fn check() -> Outcome {
    let path = workspace::root().join("Cargo.lock");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let count = text.lines().filter(|line| *line == "[[package]]").count();
    println!("packages: {count} of {BUDGET}");
    if count > BUDGET {
        Err(format!(
            "{count} packages in Cargo.lock, and the budget is {BUDGET}"
        ))
    } else {
        Ok(())
    }
}
