//! Flags in tables: `run` has some hundred and forty of five kinds, which clap's derive would
//! write out one by one.
//!
//! ```text
//! flags! {
//!     /// Of a command.
//!     pub struct SomeArgs {
//!         /// Name of the container
//!         name: one "name" in "Process" as "NAME";
//!         /// Keep standard input open
//!         interactive: switch "interactive" in "Process", short 'i';
//!     }
//! }
//! ```
//!
//! Behind the struct may stand `with FUNCTION { … }`: the function changes the command, and the
//! fields are structs with flags of their own.
//!
//! | kind | field | |
//! | --- | --- | --- |
//! | `switch`, `switch_on` | `bool` | `--flag` or `--flag=false`; `switch_on` is true unless given |
//! | `one` | `Option<String>` | the last one counts; an empty one is none, as with Docker |
//! | `exact` | `Option<String>` | the last one counts, an empty one too |
//! | `many` | `Vec<String>` | all of them count |
//! | `number(T)` | `Option<T>` | |
//! | `rest` | `Vec<String>` | what stands behind the flags, flags of others included |

use super::parse::parse_bool;
use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::ffi::OsString;

/// A flag of a table.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) long: &'static str,
    /// A blank in front is not part of it.
    pub(super) help: &'static str,
    pub(super) heading: &'static str,
    pub(super) value: &'static str,
    pub(super) kind: Kind,
    pub(super) more: More,
}

/// What most flags do not have.
#[derive(Debug)]
pub(super) struct More {
    pub(super) short: Option<char>,
    pub(super) alias: &'static str,
    pub(super) hidden: bool,
    /// The words that a value can be; any where it is empty.
    pub(super) of: &'static [&'static str],
    /// The value of the flag alone, which makes its value optional.
    pub(super) alone: &'static str,
}

impl More {
    pub(super) const NONE: Self = Self {
        short: None,
        alias: "",
        hidden: false,
        of: &[],
        alone: "",
    };
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Switch { default: &'static str },
    One,
    Many,
    Number(fn() -> ValueParser),
    Rest,
}

/// A struct of flags, which may be read without all of them.
pub(super) trait Table: FromArgMatches {
    /// Adds the flags that are wanted to a command.
    fn augment(command: Command, wanted: &dyn Fn(&Flag) -> bool) -> Command;
}

/// Adds those flags of a table to a command that are wanted.
pub(super) fn add_flags(command: Command, flags: &'static [Flag], wanted: &dyn Fn(&Flag) -> bool) -> Command {
    flags
        .iter()
        .filter(|flag| wanted(flag))
        .fold(command, |command, flag| command.arg(argument(flag)))
}

impl Flag {
    /// Whether one of the words can name it: clap gives a word its meaning by those flags alone
    /// that are named there. The value of another flag may look so, too, which does no harm.
    pub(super) fn can_be_in(&self, words: &[OsString]) -> bool {
        let is_named = |word: &OsString| {
            let word = word.as_encoded_bytes();
            if let Some(long) = word.strip_prefix(b"--") {
                let name = long.split(|byte| *byte == b'=').next();
                return [self.long, self.more.alias]
                    .iter()
                    .any(|own| !own.is_empty() && name == Some(own.as_bytes()));
            }
            let short = self.more.short.and_then(|short| u8::try_from(short).ok());
            short.is_some_and(|short| word.starts_with(b"-") && word.contains(&short))
        };
        matches!(self.kind, Kind::Rest) || words.iter().any(is_named)
    }
}

fn argument(flag: &'static Flag) -> Arg {
    let more = &flag.more;
    let mut arg = Arg::new(flag.name).help(flag.help.trim_start());
    if !flag.value.is_empty() {
        arg = arg.value_name(flag.value);
    }
    if let Kind::Rest = flag.kind {
        return arg.trailing_var_arg(true).num_args(0..).action(ArgAction::Append);
    }
    arg = arg.long(flag.long).short(more.short).hide(more.hidden);
    if !flag.heading.is_empty() {
        arg = arg.help_heading(flag.heading);
    }
    if !more.alias.is_empty() {
        arg = arg.visible_alias(more.alias);
    }
    if !more.of.is_empty() {
        arg = arg
            .value_parser(PossibleValuesParser::new(more.of.iter().copied()))
            .hide_possible_values(true);
    }
    if !more.alone.is_empty() {
        arg = arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value(more.alone);
    }
    match flag.kind {
        Kind::Switch { default } => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value(default)
            .default_missing_value("true")
            .hide_default_value(true)
            .value_name("BOOL")
            .value_parser(ValueParser::new(parse_bool))
            .overrides_with(flag.name),
        Kind::Number(parser) => arg.value_parser(parser()).overrides_with(flag.name),
        Kind::One => arg.overrides_with(flag.name),
        Kind::Many | Kind::Rest => arg.action(ArgAction::Append),
    }
}

// A flag that was left out of the command is one that was not given.

pub(super) fn take_switch(matches: &mut ArgMatches, name: &str, default: bool) -> bool {
    matches.try_remove_one(name).ok().flatten().unwrap_or(default)
}

pub(super) fn take_one(matches: &mut ArgMatches, name: &str) -> Option<String> {
    matches.try_remove_one(name).ok().flatten()
}

pub(super) fn take_filled(matches: &mut ArgMatches, name: &str) -> Option<String> {
    take_one(matches, name).filter(|text| !text.is_empty())
}

pub(super) fn take_many(matches: &mut ArgMatches, name: &str) -> Vec<String> {
    let values = matches.try_remove_many(name).ok().flatten();
    values.map(Iterator::collect).unwrap_or_default()
}

macro_rules! flag_type {
    (switch) => { bool };
    (switch_on) => { bool };
    (one) => { Option<String> };
    (exact) => { Option<String> };
    (many) => { Vec<String> };
    (rest) => { Vec<String> };
    (number $type:ty) => { Option<$type> };
}

macro_rules! flag_kind {
    (switch) => {
        $crate::cli::flags::Kind::Switch { default: "false" }
    };
    (switch_on) => {
        $crate::cli::flags::Kind::Switch { default: "true" }
    };
    (one) => {
        $crate::cli::flags::Kind::One
    };
    (exact) => {
        $crate::cli::flags::Kind::One
    };
    (many) => {
        $crate::cli::flags::Kind::Many
    };
    (rest) => {
        $crate::cli::flags::Kind::Rest
    };
    (number $type:ty) => {
        $crate::cli::flags::Kind::Number(|| {
            ::clap::builder::ValueParser::new($crate::cli::parse::parse_number::<$type>)
        })
    };
}

macro_rules! flag_take {
    ($matches:ident, $name:expr, switch) => {
        $crate::cli::flags::take_switch($matches, $name, false)
    };
    ($matches:ident, $name:expr, switch_on) => {
        $crate::cli::flags::take_switch($matches, $name, true)
    };
    ($matches:ident, $name:expr, one) => {
        $crate::cli::flags::take_filled($matches, $name)
    };
    ($matches:ident, $name:expr, exact) => {
        $crate::cli::flags::take_one($matches, $name)
    };
    ($matches:ident, $name:expr, many) => {
        $crate::cli::flags::take_many($matches, $name)
    };
    ($matches:ident, $name:expr, rest) => {
        $crate::cli::flags::take_many($matches, $name)
    };
    ($matches:ident, $name:expr, number $type:ty) => {
        $matches.try_remove_one::<$type>($name).ok().flatten()
    };
}

/// A struct of flags, and their table.
macro_rules! flags {
    (
        $(#[doc = $about:literal])+
        pub struct $struct:ident {
            $(
                $(#[doc = $help:literal])+
                $name:ident : $kind:ident $(($type:ty))? $long:literal
                    $(in $heading:literal)? $(as $value:literal)?
                    $(, short $short:literal)? $(, alias $alias:literal)? $(, alone $alone:literal)?
                    $(, of $of:tt)? $(, hidden $hidden:literal)? ;
            )+
        }
        $(with $change:ident {
            $( $(#[doc = $part_help:literal])+ $part:ident : $part_type:ty; )+
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        #[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
        pub struct $struct {
            $( $(#[doc = $help])+ pub $name: flag_type!($kind $($type)?), )+
            $($( $(#[doc = $part_help])+ pub $part: $part_type, )+)?
        }

        impl $struct {
            const FLAGS: &[$crate::cli::flags::Flag] = &[ $(
                $crate::cli::flags::Flag {
                    name: stringify!($name),
                    long: $long,
                    help: concat!($($help),+),
                    heading: concat!("" $(, $heading)?),
                    value: concat!("" $(, $value)?),
                    kind: flag_kind!($kind $($type)?),
                    #[allow(clippy::needless_update)]
                    more: $crate::cli::flags::More {
                        $(short: Some($short),)?
                        $(alias: $alias,)?
                        $(alone: $alone,)?
                        $(of: &$of,)?
                        $(hidden: $hidden,)?
                        ..$crate::cli::flags::More::NONE
                    },
                },
            )+ ];
        }

        impl $crate::cli::flags::Table for $struct {
            fn augment(
                command: ::clap::Command,
                wanted: &dyn Fn(&$crate::cli::flags::Flag) -> bool,
            ) -> ::clap::Command {
                let command = $crate::cli::flags::add_flags(command, Self::FLAGS, wanted);
                $(
                    let command = $change(command);
                    $( let command = <$part_type as $crate::cli::flags::Table>::augment(command, wanted); )+
                )?
                command
            }
        }

        impl ::clap::Args for $struct {
            fn augment_args(command: ::clap::Command) -> ::clap::Command {
                <Self as $crate::cli::flags::Table>::augment(command, &|_| true)
            }

            fn augment_args_for_update(command: ::clap::Command) -> ::clap::Command {
                Self::augment_args(command)
            }
        }

        impl ::clap::FromArgMatches for $struct {
            fn from_arg_matches(matches: &::clap::ArgMatches) -> ::std::result::Result<Self, ::clap::Error> {
                Self::from_arg_matches_mut(&mut matches.clone())
            }

            fn from_arg_matches_mut(matches: &mut ::clap::ArgMatches) -> ::std::result::Result<Self, ::clap::Error> {
                Ok(Self {
                    $( $name: flag_take!(matches, stringify!($name), $kind $($type)?), )+
                    $($( $part: ::clap::FromArgMatches::from_arg_matches_mut(matches)?, )+)?
                })
            }

            fn update_from_arg_matches(&mut self, matches: &::clap::ArgMatches) -> ::std::result::Result<(), ::clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

pub(super) use {flag_kind, flag_take, flag_type, flags};
