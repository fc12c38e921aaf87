//! `cais ps`. Only the files that are needed are read, and no lock is taken: a container
//! that is stuck stops nobody from looking.

use super::ports::port_list;
use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::{human_size, print};
use cais::cli::PsArgs;
use cais::template::{Format, Label, Listing};
use cais_engine::describe::since;
use cais_engine::disk::read_size;
use cais_engine::engine::Engine;
use cais_engine::filter::ContainerFilter;
use cais_engine::health;
use cais_engine::inspect::{exposed_ports, read_endpoints};
use cais_engine::list;
use cais_engine::options::{NetworkMode, RootSource};
use cais_engine::state::Container;
use cais_engine::time;
use cais_image::ContentStore;
use cais_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::SystemTime;

const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

/// So many containers are looked through for leftovers without a sign of any.
const FEW: usize = 32;

/// Headings that are not the name of the field.
const HEADINGS: [(&str, &str); 2] = [("ID", "CONTAINER ID"), ("RunningFor", "CREATED")];

pub(crate) fn ps(args: &PsArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let format = format(args, &engine)?;
    let found = select(&engine, args)?;
    let mut view = View {
        engine: &engine,
        quiet: args.quiet && matches!(given(args, &engine), None | Some("table" | "raw")),
        whole: args.no_trunc,
        with_size: args.size || format.uses("Size"),
        now: SystemTime::now(),
        images: None,
        names: HashMap::new(),
        sizes: HashMap::new(),
    };
    let mut rows = Vec::with_capacity(found.len());
    for container in &found {
        rows.push(view.row(container)?);
    }
    print(&format.render(rows, &HEADINGS)?)?;
    // What killed commands left is removed after the answer is given: where there are signs
    // of it, and where looking for it costs little.
    let is_left = |container: &Container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| !state.monitor.is_alive())
    };
    if found.len() < FEW || found.iter().any(is_left) {
        sweep(&engine);
    }
    Ok(0)
}

/// The template that the user gives, or has configured.
fn given<'a>(args: &'a PsArgs, engine: &'a Engine) -> Option<&'a str> {
    let configured = engine.config.ps_format.value.as_ref().filter(|_| !args.quiet);
    let given = args.format.as_ref().filter(|text| !text.is_empty());
    given.or(configured).map(String::as_str)
}

fn format(args: &PsArgs, engine: &Engine) -> Result<Format, Failure> {
    const RAW: [(&str, &str); 10] = [
        ("container_id", "ID"),
        ("image", "Image"),
        ("command", "Command"),
        ("created_at", "CreatedAt"),
        ("state", "State"),
        ("status", "Status"),
        ("names", "Names"),
        ("labels", "Labels"),
        ("ports", "Ports"),
        ("size", "Size"),
    ];
    let table = format!("{TABLE}{}", if args.size { "\t{{.Size}}" } else { "" });
    let listing = Listing {
        table: &table,
        id: "ID",
        raw: RAW.get(..RAW.len() - usize::from(!args.size)).unwrap_or(&RAW),
    };
    Format::of_list(given(args, engine), args.quiet, &listing)
        .map_err(|error| Failure::new(format!("failed to parse template: {error}")))
}

/// The containers that are asked for, the newest first.
fn select(engine: &Engine, args: &PsArgs) -> Result<Vec<Container>, Failure> {
    let filter = ContainerFilter::parse(engine, &args.filter)?;
    let last = if args.latest {
        Some(1)
    } else {
        args.last.and_then(|count| usize::try_from(count).ok())
    };
    let last = last.filter(|count| *count > 0);
    let all = args.all || last.is_some() || filter.wants_all();
    let mut found = if all {
        list::containers(&engine.store)?
    } else {
        list::with_state(&engine.store)?
    };
    found.retain(|container| {
        // Its own file is read only where somebody asks for it.
        let health = filter
            .needs_health()
            .then(|| health::word(&engine.store, container));
        let ports = filter
            .needs_ports()
            .then(|| read_endpoints(engine, container).ok());
        let ports = ports.flatten().map(|found| found.ports).unwrap_or_default();
        (all || container.is_up()) && filter.takes(container, health.flatten(), &ports)
    });
    if let Some(count) = last {
        found.truncate(count);
    }
    Ok(found)
}

/// What rows are made with.
struct View<'a> {
    engine: &'a Engine,
    quiet: bool,
    whole: bool,
    with_size: bool,
    now: SystemTime,
    /// The store of images, once it is needed.
    images: Option<ContentStore>,
    /// What is shown for an image, by its name and manifest.
    names: HashMap<(String, String), String>,
    /// The bytes of an image, by its manifest.
    sizes: HashMap<String, u64>,
}

impl View<'_> {
    fn row(&mut self, container: &Container) -> Result<Value, Failure> {
        let record = &container.record;
        let id = if self.whole {
            record.id.as_str()
        } else {
            record.id.short()
        };
        if self.quiet {
            return Ok(json!({ "ID": id }));
        }
        let labels: Vec<String> = container
            .labels()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let by_key: Map<String, Value> = container
            .labels()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let mounts: Vec<String> = container
            .mount_names()
            .iter()
            .map(|name| self.shorten(name, 15))
            .collect();
        // In the order of their names, as Go writes a map.
        Ok(json!({
            "Command": format!("\"{}\"", self.shorten(&container.command_text(), 20)),
            "CreatedAt": created_at(&record.created),
            "ID": id,
            "Image": self.image(container)?,
            "Labels": labels.join(","),
            "LocalVolumes": container.volume_count().to_string(),
            "Mounts": mounts.join(","),
            "Names": record.name,
            "Networks": container.network_names().join(","),
            "Ports": self.ports(container)?,
            "RunningFor": format!("{} ago", since(&record.created, self.now)),
            "Size": self.size(container)?,
            "State": container.state_word(),
            "Status": container.status_text(health::word(&self.engine.store, container), self.now),
            (Label::KEY): by_key,
        }))
    }

    /// A text of at most so many characters, with an ellipsis where it was longer.
    fn shorten(&self, text: &str, most: usize) -> String {
        if self.whole || text.chars().count() <= most {
            return text.to_owned();
        }
        text.chars().take(most - 1).chain(['…']).collect()
    }

    fn open_images(&mut self) -> Result<&ContentStore, Failure> {
        if self.images.is_none() {
            self.images = Some(cais_engine::images::open(self.engine)?);
        }
        self.images
            .as_ref()
            .ok_or_else(|| Failure::new("the store of images is not open"))
    }

    /// The image as the user called it; its id where that name means another one by now.
    fn image(&mut self, container: &Container) -> Result<String, Failure> {
        let RootSource::Image { name, manifest, .. } = &container.record.options.root else {
            return Ok(container.image_text());
        };
        let key = (name.clone(), manifest.clone());
        if let Some(shown) = self.names.get(&key) {
            return Ok(shown.clone());
        }
        let whole = self.whole;
        let store = self.open_images()?;
        let current = cais_engine::images::find(store, name).ok();
        let shown = match current {
            Some(image) if image.manifest.digest.to_string() == *manifest => name.clone(),
            _ => match store.resolve(manifest) {
                Ok(image) if whole => image.id.to_string(),
                Ok(image) => image.id.hex().get(..12).unwrap_or("").to_owned(),
                Err(_) => name.clone(),
            },
        };
        self.names.insert(key, shown.clone());
        Ok(shown)
    }

    /// The published ports, and those that are only exposed.
    fn ports(&self, container: &Container) -> Result<String, Failure> {
        // Without networks of its own there is nothing to reach it by.
        let mode = &container.record.options.namespaces.network;
        if !container.is_running() || !matches!(mode, NetworkMode::Networks(_) | NetworkMode::Cni(_)) {
            return Ok(String::new());
        }
        let published = read_endpoints(self.engine, container)?.ports;
        Ok(port_list(&published, &exposed_ports(&container.record.options)))
    }

    /// What the container has written, and with it what its image holds.
    fn size(&mut self, container: &Container) -> Result<String, Failure> {
        if !self.with_size {
            return Ok("0B".to_owned());
        }
        let directory = self.engine.store.container(&container.record.id);
        let written = read_size(&directory.join("upper"))?;
        let RootSource::Image { manifest, .. } = &container.record.options.root else {
            return Ok(human_size(written));
        };
        let image = match self.sizes.get(manifest) {
            Some(bytes) => *bytes,
            None => {
                let store = self.open_images()?;
                let bytes = store.resolve(manifest).map_or(0, |image| image.size);
                self.sizes.insert(manifest.clone(), bytes);
                bytes
            }
        };
        Ok(format!(
            "{} (virtual {})",
            human_size(written),
            human_size(written + image)
        ))
    }
}

/// A moment as Docker's lists write it. The time is UTC.
pub(super) fn created_at(moment: &str) -> String {
    if time::parse(moment).is_none() {
        return moment.to_owned();
    }
    let whole = moment.get(..19).unwrap_or(moment).replacen('T', " ", 1);
    format!("{whole} +0000 UTC")
}
