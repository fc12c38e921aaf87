//! The use cases of cais and their state on disk: containers and their logs,
//! names, id ranges, and the monitor. Knows nothing of the terminal's text.

pub mod options;
