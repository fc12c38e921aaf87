//! The command line of cais: its definition, from which the parser, `--help`, the man
//! pages and the shell completions all come.

pub mod cli;
pub mod template;
