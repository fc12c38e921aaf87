//! Mistakes on the command line in Docker's words, with Docker's exit codes: 125 for a
//! flag, 1 for a command or an argument.

use crate::output::program;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::fmt::Write;

/// What is shown of a mistake, and the exit code.
pub(crate) struct Mistake {
    pub(crate) text: String,
    pub(crate) code: u8,
}

/// Where the mistake was made.
struct Place {
    command: clap::Command,
    /// The program and the command: `cais run`.
    path: String,
    is_root: bool,
}

/// Says what is wrong with a command line. `None` for help and version, which are none.
pub(crate) fn describe(error: &clap::Error, arguments: &[OsString]) -> Option<Mistake> {
    if !error.use_stderr() {
        return None;
    }
    let (command, path) = cais::cli::command_path(arguments);
    let is_root = path.is_empty();
    let place = Place {
        command,
        path: format!("{} {path}", program()).trim_end().to_owned(),
        is_root,
    };
    Some(match error.kind() {
        ErrorKind::UnknownArgument => unknown(error, &place, arguments),
        ErrorKind::InvalidSubcommand => no_command(error, &place),
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => positional(&place),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => value(error, &place, arguments),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => Mistake {
            text: error.render().to_string(),
            code: u8::from(!place.is_root),
        },
        _ => flag(&place, &first_line(error)),
    })
}

/// A text of the error's context.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// clap's own words, without its `error: `.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or("").trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// A mistake with a flag.
fn flag(place: &Place, text: &str) -> Mistake {
    Mistake {
        text: format!("{text}\nSee '{} --help'.\n", place.path),
        code: 125,
    }
}

fn unknown(error: &clap::Error, place: &Place, arguments: &[OsString]) -> Mistake {
    let word = context(error, ContextKind::InvalidArg);
    let mut text = match word.strip_prefix('-') {
        None | Some("") => return positional(place),
        Some(name) if name.starts_with("-=") || name == "-" => {
            let given = given(arguments, |word| word.starts_with("--="));
            format!("bad flag syntax: {}", given.unwrap_or(word))
        }
        Some(name) if name.starts_with('-') => format!(
            "unknown flag: {}",
            word.split_once('=').map_or(word.as_str(), |(flag, _)| flag)
        ),
        Some(letters) => {
            let letter = letters.chars().next().unwrap_or('-');
            // What stands in front of it in its word are flags that there are.
            let given = given(arguments, |word| {
                word.starts_with('-') && !word.starts_with("--") && word.contains(letter)
            });
            let rest = given.as_deref().and_then(|word| word.get(word.find(letter)?..));
            format!(
                "unknown shorthand flag: '{letter}' in -{}",
                rest.unwrap_or(letters)
            )
        }
    };
    let near = context(error, ContextKind::SuggestedArg);
    if !near.is_empty() && !near.starts_with("-- ") {
        text.push_str(&format!(": is {near} meant?"));
    }
    flag(place, &text)
}

/// The first word of the command line that is so.
fn given(arguments: &[OsString], is_so: impl Fn(&str) -> bool) -> Option<String> {
    let mut words = arguments.iter().filter_map(|word| word.to_str());
    words.find(|word| is_so(word)).map(str::to_owned)
}

fn no_command(error: &clap::Error, place: &Place) -> Mistake {
    let word = context(error, ContextKind::InvalidSubcommand);
    let near = context(error, ContextKind::SuggestedSubcommand);
    // clap finds much similar that is not.
    let near = if near.chars().next() == word.chars().next() && !near.is_empty() {
        format!(" Is {near} meant?")
    } else {
        String::new()
    };
    Mistake {
        text: format!(
            "{}: '{word}' is not a {} command.{near}\nSee '{} --help'\n",
            program(),
            place.path,
            place.path
        ),
        code: 1,
    }
}

/// Too few arguments, or too many.
fn positional(place: &Place) -> Mistake {
    let all: Vec<&clap::Arg> = place.command.get_positionals().collect();
    let least = |argument: &&clap::Arg| argument.get_num_args().map_or(1, |range| range.min_values());
    let required: usize = all
        .iter()
        .filter(|argument| argument.is_required_set())
        .map(|argument| least(argument).max(1))
        .sum();
    let endless = all.iter().any(|argument| {
        argument
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1)
            || matches!(argument.get_action(), clap::ArgAction::Append)
    });
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let wanted = match (required, all.len()) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, _) if endless => format!("requires at least {least} argument{}", plural(least)),
        (least, most) if least == most => format!("requires exactly {least} argument{}", plural(least)),
        (least, most) if least > 0 => {
            format!("requires at least {least} and at most {most} arguments")
        }
        (_, most) => format!("requires at most {most} argument{}", plural(most)),
    };
    let usage = place
        .command
        .clone()
        .bin_name(place.path.clone())
        .render_usage()
        .to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let mut text = format!(
        "\"{}\" {wanted}.\nSee '{} --help'.\n\nUsage:  {usage}\n",
        place.path, place.path
    );
    if let Some(about) = place.command.get_about() {
        // Writing to a String cannot fail.
        write!(text, "\n{about}\n").unwrap_or_default();
    }
    Mistake { text, code: 1 }
}

/// A value that does not fit its flag.
fn value(error: &clap::Error, place: &Place, arguments: &[OsString]) -> Mistake {
    let argument = context(error, ContextKind::InvalidArg);
    let value = context(error, ContextKind::InvalidValue);
    let name = argument.split([' ', '=', '[']).next().unwrap_or("").to_owned();
    let known = place.command.get_arguments().find(|known| {
        known
            .get_long()
            .is_some_and(|long| name.strip_prefix("--") == Some(long))
    });
    if !name.starts_with('-') {
        return Mistake {
            text: format!("{}\nSee '{} --help'.\n", first_line(error), place.path),
            code: 1,
        };
    }
    // Only the last word can lack one, if it is a flag; an empty one was given.
    let last = arguments.last().and_then(|word| word.to_str()).unwrap_or("");
    if value.is_empty()
        && error.kind() == ErrorKind::InvalidValue
        && (last.starts_with('-') && !last.ends_with('='))
        && known.is_none_or(|known| known.get_num_args().is_none_or(|range| range.min_values() > 0))
    {
        let letter = Some(last)
            .filter(|word| !word.starts_with("--"))
            .and_then(|word| word.chars().last());
        let name = letter.map_or(name, |letter| format!("'{letter}' in -{letter}"));
        return flag(place, &format!("flag needs an argument: {name}"));
    }
    let short = known.and_then(clap::Arg::get_short);
    let shown = short.map_or_else(|| name.clone(), |short| format!("-{short}, {name}"));
    let reason = match context(error, ContextKind::ValidValue) {
        valid if !valid.is_empty() => format!("it is one of {valid}"),
        _ => std::error::Error::source(error)
            .map_or_else(|| first_line(error), std::string::ToString::to_string),
    };
    flag(
        place,
        &format!("invalid argument {value:?} for \"{shown}\" flag: {reason}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_dockers_words() {
        for (words, code, beginning) in [
            (
                "run --bogus x",
                125,
                "unknown flag: --bogus\nSee 'cais run --help'.\n",
            ),
            ("run -Z x", 125, "unknown shorthand flag: 'Z' in -Z\n"),
            ("run -i -iZi x", 125, "unknown shorthand flag: 'Z' in -Zi\n"),
            ("run --=x y", 125, "bad flag syntax: --=x\n"),
            ("run --name", 125, "flag needs an argument: --name\n"),
            ("run --rm -ie", 125, "flag needs an argument: 'e' in -e\n"),
            (
                "run --cpu-shares= x true",
                125,
                "invalid argument \"\" for \"-c, --cpu-shares\" flag: ",
            ),
            (
                "run --pids-limit= -e",
                125,
                "invalid argument \"\" for \"--pids-limit\" flag: ",
            ),
            (
                "run --rm=maybe x",
                125,
                "invalid argument \"maybe\" for \"--rm\" flag: ",
            ),
            (
                "stop -t x y",
                125,
                "invalid argument \"x\" for \"-t, --time\" flag: ",
            ),
            (
                "ps --filter x",
                125,
                "invalid argument \"x\" for \"-f, --filter\" flag: bad format",
            ),
            (
                "rm",
                1,
                "\"cais rm\" requires at least 1 argument.\nSee 'cais rm --help'.\n\nUsage:  cais rm ",
            ),
            ("ps x", 1, "\"cais ps\" accepts no arguments.\n"),
            ("diff a b", 1, "\"cais diff\" requires exactly 1 argument.\n"),
            ("exec x", 1, "\"cais exec\" requires at least 2 arguments.\n"),
            (
                "port",
                1,
                "\"cais port\" requires at least 1 argument.\nSee \'cais port --help\'.\n",
            ),
            (
                "bogus",
                1,
                "cais: 'bogus' is not a cais command.\nSee 'cais --help'\n",
            ),
            (
                "container bogus",
                1,
                "cais: 'bogus' is not a cais container command.\n",
            ),
            (
                "container ls --bogus",
                125,
                "unknown flag: --bogus\nSee 'cais container ls --help'.\n",
            ),
        ] {
            let arguments: Vec<OsString> = std::iter::once("cais")
                .chain(words.split(' '))
                .map(OsString::from)
                .collect();
            let error = cais::cli::parse(&arguments).unwrap_err();
            let mistake = describe(&error, &arguments).unwrap();
            assert_eq!(mistake.code, code, "{words}: {}", mistake.text);
            assert!(mistake.text.starts_with(beginning), "{words}: {:?}", mistake.text);
        }
        let help: Vec<OsString> = ["cais", "ps", "--help"].map(OsString::from).to_vec();
        assert!(describe(&cais::cli::parse(&help).unwrap_err(), &help).is_none());
    }
}
