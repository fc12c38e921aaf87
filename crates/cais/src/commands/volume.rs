//! `cais volume …`.

use super::prune::ask;
use super::{engine, for_each};
use crate::failure::Failure;
use crate::output::{human_size, print, whole_seconds};
use cais::cli::{
    VolumeCommand, VolumeCreateArgs, VolumeInspectArgs, VolumeListArgs, VolumePruneArgs, VolumeRemoveArgs,
};
use cais::template::{Format, Label, Listing, Template};
use cais_engine::options::RunOptions;
use cais_engine::prune::{LabelFilter, PruneFilter};
use cais_engine::store::Store;
use cais_engine::volumes::{self, Volume};
use cais_json::{Map, Value, json};
use cais_order::Gather;
use std::collections::BTreeMap;
use std::time::SystemTime;

const TABLE: &str = "{{.Driver}}\t{{.Name}}";
const HEADINGS: [(&str, &str); 1] = [("Name", "VOLUME NAME")];

pub(crate) fn volume(command: &VolumeCommand) -> Result<u8, Failure> {
    match command {
        VolumeCommand::Create(args) => create(args),
        VolumeCommand::Inspect(args) => inspect(args),
        VolumeCommand::Ls(args) => list(args),
        VolumeCommand::Prune(args) => prune(args),
        VolumeCommand::Rm(args) => remove(args),
    }
}

fn create(args: &VolumeCreateArgs) -> Result<u8, Failure> {
    if args.name.is_some() && args.name_flag.is_some() {
        return Err(Failure::new(
            "conflicting options: either specify --name or provide positional arg, not both",
        ));
    }
    let engine = engine()?;
    engine.store.ensure()?;
    volumes::sweep(&engine.store)?;
    let label = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let labels: BTreeMap<String, String> = args.label.iter().map(label).into_map();
    let volume = volumes::create(
        &engine.store,
        args.name.as_ref().or(args.name_flag.as_ref()).map(String::as_str),
        &labels,
    )?;
    print(&format!("{}\n", volume.name))?;
    Ok(0)
}

/// A volume with Docker's keys.
pub(super) fn object(store: &Store, volume: &Volume) -> Value {
    json!({
        "CreatedAt": whole_seconds(&volume.created),
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes::data(store, &volume.name),
        "Name": volume.name,
        "Options": {},
        "Scope": "local",
    })
}

fn inspect(args: &VolumeInspectArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.volumes {
        match volumes::find(&engine.store, name) {
            Ok(volume) => found.push(object(&engine.store, &volume)),
            Err(error) => code = Failure::from(error).show(),
        }
    }
    match args.format.as_deref() {
        None | Some("json") => print(&super::inspect::pretty(&Value::Array(found)))?,
        Some(text) => {
            let template = Template::parse(text)?;
            for object in &found {
                print(&(template.render(object)? + "\n"))?;
            }
        }
    }
    Ok(code)
}

fn list(args: &VolumeListArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let listing = Listing {
        table: TABLE,
        id: "Name",
        raw: &[("name", "Name"), ("driver", "Driver")],
    };
    let format = Format::of_list(args.format.as_deref(), args.quiet, &listing)?;
    let filter = Filter::parse(&args.filter)?;
    let used = match filter.dangling {
        Some(_) => volumes::in_use(&engine.store)?,
        None => BTreeMap::new(),
    };
    let mut rows = Vec::new();
    for volume in volumes::list(&engine.store)? {
        if !filter.takes(&volume, used.contains_key(&volume.name)) {
            continue;
        }
        let labels: Vec<String> = volume
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let by_key: Map<String, Value> = volume
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect();
        rows.push(json!({
            "Driver": "local",
            "Name": volume.name,
            "Scope": "local",
            "Mountpoint": volumes::data(&engine.store, &volume.name),
            "Labels": labels.join(","),
            "Links": "N/A",
            "Size": "N/A",
            (Label::KEY): by_key,
        }));
    }
    print(&format.render(rows, &HEADINGS)?)?;
    Ok(0)
}

/// Which volumes are meant.
#[derive(Default)]
struct Filter {
    names: Vec<String>,
    labels: Vec<LabelFilter>,
    dangling: Option<bool>,
    drivers: Vec<String>,
}

impl Filter {
    fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut filter = Self::default();
        for text in texts {
            match text.split_once('=') {
                Some(("name", value)) => filter.names.push(value.to_owned()),
                Some(("label", value)) => filter.labels.push(LabelFilter::parse(value)),
                Some(("driver", value)) => filter.drivers.push(value.to_owned()),
                Some(("dangling", "true" | "1")) => filter.dangling = Some(true),
                Some(("dangling", "false" | "0")) => filter.dangling = Some(false),
                _ => return Err(Failure::new(format!("invalid filter '{text}'"))),
            }
        }
        Ok(filter)
    }

    fn takes(&self, volume: &Volume, is_used: bool) -> bool {
        let labels = volume
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        (self.names.is_empty() || self.names.iter().any(|name| volume.name.contains(name.as_str())))
            && (self.drivers.is_empty() || self.drivers.iter().any(|driver| driver == "local"))
            && self.dangling.is_none_or(|dangling| dangling != is_used)
            && self.labels.iter().all(|label| label.matches(labels.clone()))
    }
}

fn prune(args: &VolumePruneArgs) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&args.filter, SystemTime::now())?;
    let engine = engine()?;
    let which = if args.all { "all" } else { "anonymous" };
    let warning = format!("This will remove {which} local volumes not used by at least one container.");
    if !args.force && !ask(&warning)? {
        return Ok(0);
    }
    let (removed, freed) = volumes::prune(&engine, args.all, &filter)?;
    if !removed.is_empty() {
        print(&format!("Deleted Volumes:\n{}\n\n", removed.join("\n")))?;
    }
    print(&format!("Total reclaimed space: {}\n", human_size(freed)))?;
    Ok(0)
}

fn remove(args: &VolumeRemoveArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    for_each(&args.volumes, |name| {
        Ok(volumes::remove(&engine.store, name, args.force)?)
    })
}

/// `--volumes-from`: what other containers mount, unless the user mounts something there.
pub(super) fn take_mounts(store: &Store, from: &[String], options: &mut RunOptions) -> Result<(), Failure> {
    for text in from {
        for mount in volumes::mounts_from(store, text)? {
            if !options.mounts.iter().any(|own| own.target == mount.target) {
                options.mounts.push(mount);
            }
        }
    }
    Ok(())
}
