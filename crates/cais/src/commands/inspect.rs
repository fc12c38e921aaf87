//! `cais inspect`, `cais container inspect`, `cais image inspect`.

use super::engine;
use super::volume::object;
use crate::failure::Failure;
use crate::output::{print, print_error};
use cais::cli::{InspectArgs, InspectKindArgs};
use cais::template::Template;
use cais_engine::EngineError;
use cais_engine::engine::Engine;
use cais_engine::images;
use cais_engine::inspect::{find_container, inspect_image};
use cais_engine::network::describe::inspect as network;
use cais_engine::volumes;
use cais_json::Value;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

/// What Docker exits with for a template that cannot be read.
const BAD_TEMPLATE: u8 = 64;

pub(crate) fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let kinds: &[Kind] = match args.kind.as_deref() {
        None | Some("") => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume],
        Some("container") => &[Kind::Container],
        Some("image") => &[Kind::Image],
        Some("network") => &[Kind::Network],
        Some("volume") => &[Kind::Volume],
        Some(other) => return Err(Failure::new(format!("{other:?} is not a valid value for --type"))),
    };
    let what = match args.kind.as_deref() {
        None => "object",
        Some(kind) => kind,
    };
    Inspection {
        engine: engine()?,
        kinds,
        what,
        size: args.size,
    }
    .show(&args.names, args.format.as_deref())
}

pub(crate) fn inspect_kind(args: &InspectKindArgs, kind: Kind) -> Result<u8, Failure> {
    let (kinds, what): (&[Kind], _) = match kind {
        Kind::Container => (&[Kind::Container], "container"),
        Kind::Image => (&[Kind::Image], "image"),
        Kind::Network => (&[Kind::Network], "network"),
        Kind::Volume => (&[Kind::Volume], "volume"),
    };
    Inspection {
        engine: engine()?,
        kinds,
        what,
        size: args.size,
    }
    .show(&args.names, args.format.as_deref())
}

/// Things to be shown, and where they are looked for.
struct Inspection<'a> {
    engine: Engine,
    kinds: &'a [Kind],
    /// What is missing where there is nothing of a name.
    what: &'a str,
    size: bool,
}

impl Inspection<'_> {
    fn show(&self, names: &[String], format: Option<&str>) -> Result<u8, Failure> {
        let format = format.filter(|format| !matches!(*format, "" | "json"));
        let template = format.map(Template::parse).transpose().map_err(|error| {
            let text = error.to_string();
            Failure::new(format!("template parsing error: {text}")).code(BAD_TEMPLATE)
        })?;
        let mut found = Vec::new();
        let mut failed = Vec::new();
        for name in names {
            match self.find(name) {
                Ok(Some(value)) => found.push(value),
                Ok(None) => failed.push(format!("Error: No such {}: {name}\n", self.what)),
                Err(error) => failed.push(format!("Error: {}\n", Failure::from(error).text())),
            }
        }
        match template {
            Some(template) => {
                for value in &found {
                    let text = template
                        .render(value)
                        .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
                    print(&(text + "\n"))?;
                }
            }
            None => print(&pretty(&Value::Array(found)))?,
        }
        failed.iter().for_each(|text| print_error(text));
        Ok(u8::from(!failed.is_empty()))
    }

    fn find(&self, name: &str) -> Result<Option<Value>, EngineError> {
        for kind in self.kinds {
            let found = match kind {
                Kind::Container => match find_container(&self.engine, name, self.size) {
                    Err(EngineError::NoSuchContainer(_)) => None,
                    other => Some(other?),
                },
                Kind::Image => {
                    let store = images::open(&self.engine)?;
                    match images::find(&store, name) {
                        Ok(image) => Some(inspect_image(&store, &image)?),
                        Err(error) if is_missing(&error) => None,
                        Err(error) => return Err(error),
                    }
                }
                Kind::Network => match self.is_network(name) {
                    true => Some(network(&self.engine.store, name)?),
                    false => None,
                },
                Kind::Volume => volumes::list(&self.engine.store)?
                    .iter()
                    .find(|volume| volume.name == name)
                    .map(|volume| object(&self.engine.store, volume)),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

impl Inspection<'_> {
    /// Whether there is a network of this name: one that was made, or one that always is.
    fn is_network(&self, name: &str) -> bool {
        matches!(name, "host" | "none") || matches!(self.engine.store.networks().read(name), Ok(Some(_)))
    }
}

fn is_missing(error: &EngineError) -> bool {
    match error {
        EngineError::Image { source, .. } => {
            matches!(**source, cais_image::store::StoreError::NoImage(_))
        }
        _ => false,
    }
}

/// JSON as Docker writes it: four spaces for each level.
pub(super) fn pretty(value: &Value) -> String {
    cais_json::to_string_indented(value, "    ") + "\n"
}
