//! `.note.dlopen`: what an object says that it may open while it runs (uapi-group.org, "ELF
//! dlopen metadata").

use serde::Deserialize;

/// One thing that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional {
    /// Names of one library; the first that is there is taken.
    pub names: Vec<String>,
    /// What for.
    pub feature: String,
    /// Whether it is more than a suggestion.
    pub is_wanted: bool,
}

#[derive(Deserialize)]
struct Note {
    #[serde(default)]
    soname: Vec<String>,
    #[serde(default)]
    feature: String,
    #[serde(default)]
    priority: String,
}

/// Parses the text of a note; nothing for one that cannot be understood, which is no more than
/// a hint.
#[must_use]
pub fn parse_note(json: &[u8]) -> Vec<Optional> {
    let notes: Vec<Note> = cais_json::from_slice(json).unwrap_or_default();
    notes
        .into_iter()
        .filter(|note| !note.soname.is_empty())
        .map(|note| Optional {
            is_wanted: note.priority != "suggested",
            names: note.soname,
            feature: note.feature,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes() {
        let found = parse_note(
            br#"[{"soname":["libx.so.1"],"feature":"x","priority":"required","description":"d"},
                {"soname":["liby.so.2","liby.so.1"],"priority":"suggested"},{"soname":[]}]"#,
        );
        assert_eq!(found.len(), 2);
        assert!(found[0].is_wanted && !found[1].is_wanted);
        assert_eq!(found[1].names, ["liby.so.2", "liby.so.1"]);
        assert!(parse_note(b"{").is_empty());
    }
}
