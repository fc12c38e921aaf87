//! `cais system df` and `cais system check`.

use super::image::familiar;
use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::{human_size, print, print_error};
use cais::cli::{SystemCheckArgs, SystemDfArgs};
use cais::template::{Format, Listing};
use cais_engine::check::check as check_all;
use cais_engine::describe::since;
use cais_engine::disk_usage::{ContainerUsage, DiskUsage, disk_usage};
use cais_image::Reference;
use cais_image::store::{Image, ImageUsage};
use cais_json::{Value, json};
use cais_order::InOrder;
use std::time::SystemTime;

/// How numbers of bytes are shown.
type Shown = fn(u64) -> String;

pub(crate) fn df(args: &SystemDfArgs) -> Result<u8, Failure> {
    let listing = Listing {
        table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        id: "Type",
        raw: &[
            ("type", "Type"),
            ("total", "TotalCount"),
            ("active", "Active"),
            ("size", "Size"),
            ("reclaimable", "Reclaimable"),
        ],
    };
    let format = Format::of_list(args.format.as_deref(), false, &listing)?;
    let engine = engine()?;
    sweep(&engine);
    let usage = disk_usage(&engine)?;
    let shown: Shown = if args.bytes {
        |bytes| bytes.to_string()
    } else {
        human_size
    };
    if args.verbose && args.format.is_none() {
        return show_all(&usage, shown);
    }
    let rows: Vec<Value> = parts(&usage).iter().map(|part| part.row(shown)).collect();
    print(&format.render(rows, &[("TotalCount", "TOTAL")])?)?;
    Ok(0)
}

/// A line of the table.
struct Part {
    kind: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

impl Part {
    fn row(&self, shown: Shown) -> Value {
        // As Docker: the share is left out where there is nothing to share.
        let share = match u128::from(self.reclaimable) * 100 {
            _ if self.bytes == 0 => String::new(),
            hundredfold => format!(" ({}%)", hundredfold / u128::from(self.bytes)),
        };
        json!({
            "Active": self.active.to_string(),
            "Reclaimable": shown(self.reclaimable) + &share,
            "ReclaimableBytes": self.reclaimable,
            "Size": shown(self.bytes),
            "SizeBytes": self.bytes,
            "TotalCount": self.total.to_string(),
            "Type": self.kind,
        })
    }
}

fn parts(usage: &DiskUsage) -> Vec<Part> {
    let sum = |all: &mut dyn Iterator<Item = u64>| all.sum::<u64>();
    let stopped = || usage.containers.iter().filter(|container| !is_active(container));
    let running = usage.containers.len() - stopped().count();
    let logs = || {
        usage
            .containers
            .iter()
            .filter(|container| container.log.apparent > 0)
    };
    let unused = || usage.volumes.iter().filter(|volume| volume.links == 0);
    vec![
        Part {
            kind: "Images",
            total: usage.images.len(),
            active: usage.store.images.iter().filter(|image| image.in_use).count(),
            bytes: usage.store.total.allocated,
            reclaimable: usage.store.reclaimable.allocated,
        },
        Part {
            kind: "Containers",
            total: usage.containers.len(),
            active: running,
            bytes: sum(&mut usage.containers.iter().map(|container| container.files.allocated)),
            reclaimable: sum(&mut stopped().map(|container| container.files.allocated)),
        },
        Part {
            kind: "Logs",
            total: logs().count(),
            active: logs().filter(|container| is_active(container)).count(),
            bytes: sum(&mut usage.containers.iter().map(|container| container.log.allocated)),
            reclaimable: sum(&mut stopped().map(|container| container.log.allocated)),
        },
        Part {
            kind: "Local Volumes",
            total: usage.volumes.len(),
            active: usage.volumes.len() - unused().count(),
            bytes: sum(&mut usage.volumes.iter().map(|volume| volume.size.allocated)),
            reclaimable: sum(&mut unused().map(|volume| volume.size.allocated)),
        },
    ]
}

/// What `container prune` leaves alone.
fn is_active(container: &ContainerUsage) -> bool {
    container.container.state.is_some()
}

/// The tables of `--verbose`.
fn show_all(usage: &DiskUsage, shown: Shown) -> Result<u8, Failure> {
    let mut text = section(
        "Images",
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Created}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
        image_rows(usage, shown),
    )?;
    let layers = usage.store.layers.iter().map(|layer| {
        json!({
            "LayerID": short(layer.diff_id.hex()),
            "Size": shown(layer.size.allocated),
            "Images": layer.images.to_string(),
            "InUse": layer.in_use.to_string(),
        })
    });
    text += &section(
        "Layers",
        "{{.LayerID}}\t{{.Size}}\t{{.Images}}\t{{.InUse}}",
        layers.collect(),
    )?;
    let containers = usage.containers.iter().map(|container| {
        let of = &container.container;
        json!({
            "ContainerID": of.record.id.short(),
            "Image": of.image_text(),
            "Size": shown(container.files.allocated),
            "LogSize": shown(container.log.allocated),
            "Created": format!("{} ago", since(&of.record.created, SystemTime::now())),
            "State": of.state_word(),
            "Names": of.record.name,
        })
    });
    text += &section(
        "Containers",
        "{{.ContainerID}}\t{{.Image}}\t{{.Size}}\t{{.LogSize}}\t{{.Created}}\t{{.State}}\t{{.Names}}",
        containers.collect(),
    )?;
    let volumes = usage.volumes.iter().map(|volume| {
        json!({ "VolumeName": volume.name, "Links": volume.links.to_string(), "Size": shown(volume.size.allocated) })
    });
    text += &section(
        "Local Volumes",
        "{{.VolumeName}}\t{{.Links}}\t{{.Size}}",
        volumes.collect(),
    )?;
    let store = &usage.store;
    let blobs: u64 = store.blobs.iter().map(|blob| blob.size.allocated).sum();
    text += &format!(
        "Blobs: {}, bookkeeping of images: {}, names and other: {}, that nothing holds: {}\nTotal: {}\n",
        shown(blobs),
        shown(store.other.allocated),
        shown(usage.other.allocated),
        shown(store.garbage.allocated),
        shown(usage.total().allocated),
    );
    print(&text)?;
    Ok(0)
}

fn section(kind: &str, template: &str, rows: Vec<Value>) -> Result<String, Failure> {
    let headings = [
        ("ID", "IMAGE ID"),
        ("LayerID", "LAYER ID"),
        ("ContainerID", "CONTAINER ID"),
    ];
    let table = Format::parse(None, template)?.render(rows, &headings)?;
    Ok(format!("{kind} space usage:\n\n{table}\n"))
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

fn image_rows(usage: &DiskUsage, shown: Shown) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut images: Vec<&Image> = usage.images.iter().collect();
    images.order_by(|one, other| other.created.cmp(&one.created));
    for image in images {
        let of = usage
            .store
            .images
            .iter()
            .find(|of| of.manifest == image.manifest.digest);
        let Some(of) = of else { continue };
        let names = image.names.iter().map(|name| match name.parse::<Reference>() {
            Ok(reference) => (
                reference.familiar_name(),
                reference.tag.unwrap_or_else(|| "<none>".to_owned()),
            ),
            Err(_) => (familiar(name), "<none>".to_owned()),
        });
        let mut names: Vec<(String, String)> = names.collect();
        if names.is_empty() {
            names.push(("<none>".to_owned(), "<none>".to_owned()));
        }
        rows.extend(names.iter().map(|name| image_row(name, image, of, usage, shown)));
    }
    rows
}

fn image_row(
    (repository, tag): &(String, String),
    image: &Image,
    of: &ImageUsage,
    usage: &DiskUsage,
    shown: Shown,
) -> Value {
    let created = match &image.created {
        Some(created) => format!("{} ago", since(created, SystemTime::now())),
        None => "N/A".to_owned(),
    };
    json!({
        "Repository": repository,
        "Tag": tag,
        "ID": short(image.id.hex()),
        "Created": created,
        "Size": shown(of.unique.allocated + of.shared.allocated),
        "SharedSize": shown(of.shared.allocated),
        "UniqueSize": shown(of.unique.allocated),
        "Containers": usage.containers_of(image).to_string(),
    })
}

pub(crate) fn check(args: &SystemCheckArgs) -> Result<u8, Failure> {
    let findings = check_all(&engine()?, args.repair)?;
    for finding in &findings {
        let outcome = match (finding.repaired, &finding.advice) {
            (true, _) => " (repaired)".to_owned(),
            (false, Some(advice)) => format!(": {advice}"),
            (false, None) => String::new(),
        };
        print(&format!("{}{outcome}\n", finding.problem))?;
    }
    let left = findings.iter().filter(|finding| !finding.repaired).count();
    if left == 0 {
        return Ok(0);
    }
    if !args.repair {
        print_error(&format!("{left} problems; --repair puts right what can be\n"));
    }
    Ok(1)
}
