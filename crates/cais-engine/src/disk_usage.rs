//! What everything takes on the disk, to the byte: as du(1) says it, by what it is for.

use crate::disk::measure;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::images;
use crate::options::RootSource;
use crate::state::Container;
use cais_image::store::{Image, Size, Usage};
use cais_order::InOrder;

/// What a container takes.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// It.
    pub container: Container,
    /// What it wrote into its file system, with what keeps it together.
    pub files: Size,
    /// Its log.
    pub log: Size,
}

/// What a volume takes.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub size: Size,
    /// How many containers it is mounted in.
    pub links: usize,
}

/// What everything takes.
#[derive(Debug, Default)]
pub struct DiskUsage {
    /// Images, layers and blobs.
    pub store: Usage,
    /// The images that are meant in `store`.
    pub images: Vec<Image>,
    /// Containers, the newest first.
    pub containers: Vec<ContainerUsage>,
    /// Volumes, by name.
    pub volumes: Vec<VolumeUsage>,
    /// Names, and whatever else lies there.
    pub other: Size,
}

impl DiskUsage {
    /// The sum of everything: what the directory of data takes.
    #[must_use]
    pub fn total(&self) -> Size {
        let mut sum = self.store.total;
        for container in &self.containers {
            sum += container.files;
            sum += container.log;
        }
        for volume in &self.volumes {
            sum += volume.size;
        }
        sum += self.other;
        sum
    }

    /// How many containers are made of an image.
    #[must_use]
    pub fn containers_of(&self, image: &Image) -> usize {
        let is_of = |container: &&ContainerUsage| match &container.container.record.options.root {
            RootSource::Image { manifest, .. } => *manifest == image.manifest.digest.as_str(),
            _ => false,
        };
        self.containers.iter().filter(is_of).count()
    }
}

/// Measures everything.
///
/// # Errors
/// Where something cannot be read.
pub fn disk_usage(engine: &Engine) -> Result<DiskUsage> {
    let mut usage = DiskUsage::default();
    let store = images::open(engine)?;
    usage.images = store.images().map_err(EngineError::image("list the images"))?;
    usage.store = store
        .usage(&images::in_use(engine)?)
        .map_err(EngineError::image("measure the images"))?;
    let mut counted = usage.store.total;
    for container in crate::list::containers(&engine.store)? {
        let directory = engine.store.container(&container.record.id);
        let (whole, log) = (measure(&directory)?, measure(&directory.join("log"))?);
        let files = less(whole, log);
        counted += whole;
        usage.containers.push(ContainerUsage {
            container,
            files,
            log,
        });
    }
    usage.volumes = volumes(engine)?;
    for volume in &usage.volumes {
        counted += volume.size;
    }
    usage.other = less(measure(engine.store.data())?, counted);
    Ok(usage)
}

fn less(whole: Size, part: Size) -> Size {
    Size {
        apparent: whole.apparent.saturating_sub(part.apparent),
        allocated: whole.allocated.saturating_sub(part.allocated),
    }
}

fn volumes(engine: &Engine) -> Result<Vec<VolumeUsage>> {
    let used = crate::volumes::in_use(&engine.store)?;
    let directory = crate::volumes::directory(&engine.store);
    let mut found = Vec::new();
    for volume in crate::volumes::list(&engine.store)? {
        found.push(VolumeUsage {
            size: measure(&directory.join(&volume.name))?,
            links: used.get(&volume.name).map_or(0, Vec::len),
            name: volume.name,
        });
    }
    found.order_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
