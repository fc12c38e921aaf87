//! Unsafe code stands in one crate, each block with its reason.

use crate::{Outcome, workspace};

/// In two parts, so that this file has none of it and needs no exception.
const WORD: &str = concat!("un", "safe");

pub(crate) fn check() -> Outcome {
    let mut wrong = Vec::new();
    let mut blocks = 0;
    for path in workspace::files("rs") {
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let in_sys = path.components().any(|part| part.as_os_str() == "cais-sys");
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let has = |what| code.contains(&format!("{WORD} {what}"));
            let opens = has("{");
            let declares = ["fn", "impl", "extern"].into_iter().any(has);
            if (opens || declares) && !in_sys {
                wrong.push(format!(
                    "{}:{}: {WORD} outside cais-sys",
                    path.display(),
                    index + 1
                ));
            }
            if opens && in_sys {
                blocks += 1;
                let above = lines.get(index.saturating_sub(8)..=index).unwrap_or(&[]);
                if !above.iter().any(|line| line.contains("SAFETY:")) {
                    wrong.push(format!("{}:{}: no SAFETY reason", path.display(), index + 1));
                }
            }
        }
    }
    println!("{WORD}: {blocks} blocks, all in cais-sys");
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}
