//! Man pages and shell completions, from the same definition as the parser.

use crate::Outcome;
use clap_complete::Shell;
use std::fs;
use std::path::Path;

pub(crate) fn write_man_pages(directory: &str) -> Outcome {
    let directory = Path::new(directory);
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    clap_mangen::generate_to(cais::cli::command(), directory)
        .map_err(|error| format!("man pages: {error}"))?;
    println!("man pages in {}", directory.display());
    Ok(())
}

pub(crate) fn write_completions(directory: &str) -> Outcome {
    let directory = Path::new(directory);
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cais::cli::command(), "cais", directory)
            .map_err(|error| format!("completions for {shell}: {error}"))?;
    }
    println!("completions in {}", directory.display());
    Ok(())
}
