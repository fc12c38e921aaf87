//! From words to commands.

use super::flags::Table;
use super::groups::{ALIASES, add_groups};
use super::{Cli, Command, ExecArgs, InspectArgs, LogsArgs, PsArgs, RmArgs, RunArgs, StartArgs, StopArgs};
use clap::builder::ValueParser;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// Parses a command line. Only the command that is used is built: the whole tree is
/// needed for help and for mistakes alone, and building it takes longer than a mount.
///
/// # Errors
/// What clap says: a mistake, or the text of `--help` and `--version`.
pub fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let arguments = plain(arguments.to_vec());
    match arguments.get(1).and_then(|name| name.to_str()) {
        Some("run") => {
            return match parse_used::<RunArgs>("run", &arguments) {
                Ok(args) => Ok(Cli {
                    command: Command::Run(Box::new(args)),
                }),
                Err(_) => parse_whole(&arguments),
            };
        }
        Some("exec") => parse_one::<ExecArgs>("exec", &arguments).map(Command::Exec),
        Some("ps") => parse_one::<PsArgs>("ps", &arguments).map(Command::Ps),
        Some("start") => parse_one::<StartArgs>("start", &arguments).map(Command::Start),
        Some("stop") => parse_one::<StopArgs>("stop", &arguments).map(Command::Stop),
        Some("rm") => parse_one::<RmArgs>("rm", &arguments).map(Command::Rm),
        Some("logs") => parse_one::<LogsArgs>("logs", &arguments).map(Command::Logs),
        Some("inspect") => parse_one::<InspectArgs>("inspect", &arguments).map(Command::Inspect),
        _ => return parse_whole(&arguments),
    }
    .map(|command| Cli { command })
}

fn parse_whole(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let called = arguments.first().map(std::path::Path::new);
    let name = called
        .and_then(|path| path.file_stem()?.to_str())
        .unwrap_or("cais");
    // Other names of commands were replaced: they are needed for help and mistakes alone.
    let plain = as_docker_reads(Cli::command()).bin_name(name.to_owned());
    if let Ok(matches) = plain.try_get_matches_from(arguments) {
        return Cli::from_arg_matches(&matches);
    }
    let matches = command()
        .bin_name(name.to_owned())
        .try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// One command, without the others.
fn bare(name: &'static str) -> clap::Command {
    clap::Command::new(name)
        .bin_name(format!("cais {name}"))
        .max_term_width(100)
}

/// Parses the words of a command with many flags, of which only those are built that can be in
/// them. The text of an error lacks the others.
fn parse_used<T: Table>(name: &'static str, arguments: &[OsString]) -> Result<T, clap::Error> {
    let words = arguments.get(1..).unwrap_or(&[]);
    let command = T::augment(bare(name), &|flag| flag.can_be_in(words));
    let mut command = as_docker_reads(command);
    let mut matches = command.try_get_matches_from_mut(words)?;
    T::from_arg_matches_mut(&mut matches)
}

fn parse_one<T: Args + FromArgMatches>(name: &'static str, arguments: &[OsString]) -> Result<T, clap::Error> {
    let command = T::augment_args(bare(name))
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true);
    let mut command = as_docker_reads(command);
    let matches = command.try_get_matches_from_mut(arguments.get(1..).unwrap_or(&[]));
    match matches {
        Ok(mut matches) => T::from_arg_matches_mut(&mut matches),
        // The whole tree knows the commands' own texts.
        Err(_) => Err(match parse_whole(arguments) {
            Err(error) => error,
            Ok(_) => clap::Error::new(clap::error::ErrorKind::Format).with_cmd(&command),
        }),
    }
}

/// The words with Docker's other names for commands replaced: `container ls` is `ps`,
/// `help run` is `run --help`.
fn plain(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let word = |arguments: &[OsString], index: usize| {
        arguments
            .get(index)
            .and_then(|word| word.to_str())
            .map(str::to_owned)
    };
    match word(&arguments, 1).as_deref() {
        Some("help") => {
            arguments.remove(1);
            arguments.push("--help".into());
        }
        Some("-v") => {
            arguments.splice(1..2, [OsString::from("--version")]);
        }
        _ => {}
    }
    if let (Some(group), Some(name)) = (word(&arguments, 1), word(&arguments, 2))
        && let Some(alias) = ALIASES
            .iter()
            .find(|alias| alias.group == group && alias.name == name)
    {
        arguments.splice(1..3, [OsString::from(alias.command)]);
    }
    arguments
}

/// The whole tree, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    as_docker_reads(add_groups(Cli::command()))
}

/// The command that the words name, and its name without the program's: where a mistake
/// was made.
#[must_use]
pub fn command_path(arguments: &[OsString]) -> (clap::Command, String) {
    let mut found = command();
    let mut path = Vec::new();
    for word in arguments.iter().skip(1) {
        let next = word.to_str().and_then(|word| found.find_subcommand(word));
        let Some(next) = next.cloned() else { break };
        path.push(next.get_name().to_owned());
        found = next;
    }
    (found, path.join(" "))
}

/// Flags as Docker's command line takes them: a truth value may be given to each that is
/// one (`--rm=false`), of a flag that is given twice the last one counts, and what stands
/// behind a flag that needs a value is its value, whatever it begins with.
fn as_docker_reads(command: clap::Command) -> clap::Command {
    command
        .args_override_self(true)
        .mut_args(|argument| match argument.get_action() {
            ArgAction::SetTrue => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .hide_default_value(true)
                .value_name("BOOL")
                .value_parser(ValueParser::new(parse_bool)),
            ArgAction::Set | ArgAction::Append
                if !argument.is_positional() && !argument.is_require_equals_set() =>
            {
                argument.allow_hyphen_values(true)
            }
            _ => argument,
        })
        .mut_subcommands(as_docker_reads)
}

/// A `--filter`, of which only the form is checked here.
pub(super) fn parse_filter(text: &str) -> Result<String, String> {
    if text.contains('=') {
        Ok(text.to_owned())
    } else {
        Err("bad format of filter (expected name=value)".to_owned())
    }
}

/// A whole number as Go reads it: with a sign, in another base behind `0x`, `0o`, `0b` or `0`,
/// and then or there with single `_` between the digits.
pub(super) fn parse_number<T: TryFrom<i128>>(text: &str) -> Result<T, String> {
    let number = read_number(text).ok_or("it is no whole number")?;
    T::try_from(number).or(Err("the number is out of range".to_owned()))
}

fn read_number(text: &str) -> Option<i128> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = rest.to_ascii_lowercase();
    let bases = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = bases
        .iter()
        .find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base)));
    let (digits, base) = match prefixed {
        Some((digits, base)) => (digits.strip_prefix('_').unwrap_or(digits), base),
        None if lower.len() > 1 && lower.starts_with('0') => (&lower[..], 8),
        None => (&lower[..], 10),
    };
    let plain = digits.replace('_', "");
    let misplaced = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    if plain.starts_with(['+', '-']) || misplaced {
        return None;
    }
    let number = i128::from_str_radix(&plain, base).ok()?;
    Some(if is_negative { -number } else { number })
}

/// A truth value as Go reads it.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(text: &str) -> Result<Cli, clap::Error> {
        parse(&text.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_command() {
        let Command::Run(args) = parse_words("cais run --rm -it -e A=b host ls --rm -l")
            .unwrap()
            .command
        else {
            panic!("not a run");
        };
        assert!(args.rm && args.interactive && args.tty);
        assert_eq!(args.words, ["host", "ls", "--rm", "-l"]);
        let Command::Exec(args) = parse_words("cais exec -it web sh -c x").unwrap().command else {
            panic!("not an exec")
        };
        assert_eq!(args.words, ["web", "sh", "-c", "x"]);
    }

    #[test]
    fn flags_repeat_as_with_docker() {
        let Command::Run(args) =
            parse_words("cais run --name a --name b -v /a:/b -v /c:/d --rm=false host true")
                .unwrap()
                .command
        else {
            panic!("not a run");
        };
        assert_eq!(args.name.as_deref(), Some("b"));
        assert_eq!(args.volume.len(), 2);
        assert!(!args.rm);
    }

    /// With the flags alone that are in the words, `run` is the same as with all of them.
    #[test]
    fn a_flag_that_is_left_out_was_not_given() {
        let same = |line: &[&str]| {
            let words: Vec<OsString> = ["cais", "run"].iter().chain(line).map(OsString::from).collect();
            let [used, whole] = [parse_used::<RunArgs>, parse_one::<RunArgs>].map(|parse| {
                let args = parse("run", &words).map_err(|error| error.kind());
                format!("{args:?}")
            });
            assert_eq!(used, whole, "{line:?}");
            used
        };
        let all = RunArgs::augment_args(bare("run"));
        for argument in all.get_arguments().filter(|argument| argument.get_id() != "help") {
            let value = argument
                .get_possible_values()
                .first()
                .map(|value| value.get_name().to_owned());
            let value = value.unwrap_or("1".to_owned());
            let longs = argument.get_long_and_visible_aliases().unwrap_or_default();
            for long in &longs {
                let (flag, with) = (format!("--{long}"), format!("--{long}={value}"));
                assert!(same(&[&with, "host", "x"]).starts_with("Ok"), "{with}");
                same(&[&flag, &value, "host", "x"]);
                same(&["-itd", &flag, "host", "--rm", "x"]);
            }
            if let Some(short) = argument.get_short() {
                assert!(
                    same(&[&format!("-{short}={value}"), "host"]).starts_with("Ok"),
                    "-{short}"
                );
                same(&[&format!("-d{short}"), &value, "host", "x"]);
                same(&[&format!("-{short}{value}"), "host", "x"]);
            }
            assert!(argument.is_positional() || !longs.is_empty(), "{argument:?}");
        }
        for line in [
            "",
            "host",
            "host -x",
            "-- host --rm",
            "-- --rm",
            "--name --rm host",
            "-e -p host",
            "--",
            "-",
            "--sig-proxy=false host",
            "--sig-proxy host",
            "host --sig-proxy=false",
            "--na x host",
            "--bogus host",
            "--rm=maybe host",
            "--rm false host",
            "-ti=false host",
            "-lx -l=y -l z host",
            "--pull host",
            "-é host",
        ] {
            same(
                &line
                    .split(' ')
                    .filter(|word| !word.is_empty())
                    .collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn mistakes_are_errors() {
        for bad in ["cais run --bogus host", "cais bogus", "cais exec", "cais rm"] {
            assert!(parse_words(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn truth_values_as_go_reads_them() {
        for (text, want) in [
            ("ps -a", true),
            ("ps --all=true", true),
            ("ps --all=1", true),
            ("ps -a=F", false),
            ("ps -a --all=false", false),
            ("container ls -a", true),
            ("container list -a=t", true),
        ] {
            let Command::Ps(args) = parse_words(&format!("cais {text}")).unwrap().command else {
                panic!("{text}")
            };
            assert_eq!(args.all, want, "{text}");
        }
        assert!(parse_words("cais ps --all=maybe").is_err());
    }

    #[test]
    fn numbers_as_go_reads_them() {
        for (text, want) in [
            ("0", Some(0)),
            ("+20", Some(20)),
            ("-1", Some(-1)),
            ("0x1F", Some(31)),
            ("-0X10", Some(-16)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("0b101", Some(5)),
            ("0x_1_0", Some(16)),
            ("1_0", Some(10)),
            ("0_7", Some(7)),
            ("08", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("0x", None),
            ("0x-1", None),
            (" 20", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(parse_number::<i64>(text).ok(), want, "{text:?}");
        }
        assert!(parse_number::<u64>("-1").unwrap_err().contains("range"));
        assert_eq!(parse_number::<u16>("65535"), Ok(65535));
    }

    /// As pflag, which asks for nothing but that there is a next word.
    #[test]
    fn a_flags_value_may_begin_with_a_dash() {
        let run = |text: &str| match parse_words(&format!("cais run {text}")) {
            Ok(Cli {
                command: Command::Run(args),
            }) => args,
            other => panic!("{text}: {other:?}"),
        };
        for text in [
            "-u -1",
            "-u=-1",
            "-u-1",
            "--user -1",
            "--user=-1",
            "-iu -1",
            "-iu=-1",
            "-iu-1",
        ] {
            assert_eq!(
                run(&format!("{text} host id")).user.as_deref(),
                Some("-1"),
                "{text}"
            );
        }
        assert_eq!(run("--user --rm host id").user.as_deref(), Some("--rm"));
        assert_eq!(run("-w -- host id").workdir.as_deref(), Some("--"));
        let args = run("-e --rm -e -A=1 -l -x -it host -- echo");
        assert_eq!(
            (args.env, args.label),
            (vec!["--rm".into(), "-A=1".into()], vec!["-x".to_owned()])
        );
        assert!(args.interactive && args.tty && !args.rm);
        assert_eq!(args.words, ["host", "--", "echo"]);
        assert_eq!(run("-i -- host -x").words, ["host", "-x"]);
        // Each flag of the table, of those that were derived, and of commands below others.
        let refused: Vec<String> = with_values(&command(), "cais")
            .into_iter()
            .filter(|flag| flag.1.is_err())
            .map(|flag| flag.0)
            .collect();
        assert_eq!(refused, Vec::<String>::new());
        let Command::Exec(args) = parse_words("cais exec -u -1 web -- -x").unwrap().command else {
            panic!("not an exec")
        };
        assert_eq!(args.user.as_deref(), Some("-1"));
        assert_eq!(args.words, ["web", "--", "-x"]);
    }

    /// Whether each flag below `command` that takes a value takes one with a dash.
    fn with_values(command: &clap::Command, path: &str) -> Vec<(String, Result<(), ()>)> {
        let needs = |argument: &&clap::Arg| {
            !argument.is_positional()
                && !argument.is_require_equals_set()
                && matches!(argument.get_action(), ArgAction::Set | ArgAction::Append)
        };
        let own = command.get_arguments().filter(needs).map(|argument| {
            let takes = argument.is_allow_hyphen_values_set();
            (
                format!("{path} {}", argument.get_id()),
                takes.then_some(()).ok_or(()),
            )
        });
        let below = command
            .get_subcommands()
            .flat_map(|inner| with_values(inner, &format!("{path} {}", inner.get_name())));
        own.chain(below).collect()
    }

    #[test]
    fn commands_by_their_other_names() {
        for (text, want) in [
            ("container run host true", "run"),
            ("container rm x", "rm"),
            ("container remove x", "rm"),
            ("image ls", "images"),
            ("image pull x", "pull"),
        ] {
            let words = std::iter::once("cais").chain(text.split(' ')).map(OsString::from);
            let plain = plain(words.collect());
            assert_eq!(plain[1], want, "{text}");
        }
        let help = parse_words("cais help run").unwrap_err();
        assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
        let path = |text: &str| command_path(&text.split(' ').map(OsString::from).collect::<Vec<_>>()).1;
        assert_eq!(path("cais container run --bogus x"), "container run");
        assert_eq!(path("cais --bogus"), "");
        assert_eq!(path("cais rm ps"), "rm");
    }
}
