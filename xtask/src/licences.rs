//! No dependency may force its licence upon the product.

use crate::{Outcome, workspace};

pub(crate) fn check() -> Outcome {
    let metadata = workspace::metadata()?;
    let mut wrong = Vec::new();
    let mut count = 0;
    for package in metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| !package["source"].is_null())
    {
        count += 1;
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        // An expression with OR offers a choice; one with only GPL does not.
        let free = licence
            .split(" OR ")
            .any(|choice| !choice.contains("GPL") && choice != "none");
        if !free {
            wrong.push(format!("{name}: {licence}"));
        }
    }
    println!("licences: {count} packages");
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}
