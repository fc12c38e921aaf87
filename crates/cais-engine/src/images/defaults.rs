//! What a container takes from its image unless the user says otherwise.

use crate::options::mount::parse_image_volume;
use crate::options::{HealthProbe, RunOptions};
use cais_image::manifest::{Healthcheck, ImageConfig};

/// Fills in what the user left open: program, environment, user, working directory, stop
/// signal, exposed ports, labels.
pub fn apply_defaults(options: &mut RunOptions, image: &ImageConfig) {
    let config = &image.config;
    // With an entrypoint of the user's own, the image's arguments are not meant (Docker).
    if options.entrypoint.is_none() {
        if options.command.is_empty() {
            options.command = config.cmd.clone().unwrap_or_default();
        }
        options.entrypoint = config
            .entrypoint
            .clone()
            .filter(|entrypoint| !entrypoint.is_empty());
    }
    // What the user says of a variable replaces what the image says, and stands first, as
    // with Docker.
    let name = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let own: Vec<String> = options.env.iter().map(|entry| name(entry)).collect();
    let inherited = config.env.iter().filter(|entry| !own.contains(&name(entry)));
    options.env.extend(inherited.cloned());
    if options.user.is_none() && !config.user.is_empty() {
        options.user = Some(config.user.clone());
    }
    if options.workdir.is_none() && !config.working_dir.is_empty() {
        options.workdir = Some(config.working_dir.clone());
    }
    if options.stop_signal.is_none() {
        options.stop_signal = config.stop_signal.clone().filter(|signal| !signal.is_empty());
    }
    for text in config.exposed_ports.keys() {
        // What is no port exposes nothing, as with Docker.
        if let Ok(ports) = text.parse()
            && !options.network.expose.contains(&ports)
        {
            options.network.expose.push(ports);
        }
    }
    if let Some(check) = &config.healthcheck {
        apply_healthcheck(options, check);
    }
    for path in config.volumes.keys() {
        // The user's own mount at that place is meant.
        let volume = parse_image_volume(path);
        options.mounts.extend(volume.filter(|volume| {
            let known = options
                .mounts
                .iter()
                .map(|mount| mount.target.trim_end_matches('/'));
            !known.clone().any(|target| target == volume.target)
        }));
    }
    for ports in config.exposed_ports.keys().filter_map(|ports| ports.parse().ok()) {
        if !options.network.expose.contains(&ports) {
            options.network.expose.push(ports);
        }
    }
    for (key, value) in &config.labels {
        if !options.labels.iter().any(|(known, _)| known == key) {
            options.labels.push((key.clone(), value.clone()));
        }
    }
}

/// Takes the image's HEALTHCHECK for what the user left open; his own probe replaces all of
/// the image's `Test`.
fn apply_healthcheck(options: &mut RunOptions, check: &Healthcheck) {
    let health = &mut options.health;
    if health.probe.is_none() && !health.disabled {
        health.probe = match check.test.split_first() {
            Some((kind, words)) if kind == "CMD" && !words.is_empty() => {
                Some(HealthProbe::Command(words.to_vec()))
            }
            Some((kind, [line, ..])) if kind == "CMD-SHELL" => Some(HealthProbe::Shell(line.clone())),
            _ => None,
        };
    }
    let times = [
        (&mut health.interval, check.interval),
        (&mut health.timeout, check.timeout),
        (&mut health.start_period, check.start_period),
        (&mut health.start_interval, check.start_interval),
    ];
    for (mine, images) in times {
        if *mine == 0 {
            *mine = u64::try_from(images).unwrap_or(0);
        }
    }
    if health.retries == 0 {
        health.retries = u32::try_from(check.retries).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cais_image::manifest::ContainerConfig;

    fn image() -> ImageConfig {
        ImageConfig {
            config: ContainerConfig {
                entrypoint: Some(vec!["/start".into()]),
                cmd: Some(vec!["serve".into()]),
                env: vec!["A=1".into(), "B=2".into()],
                user: "web".into(),
                working_dir: "/srv".into(),
                labels: [("x".to_owned(), "image".to_owned())].into(),
                ..ContainerConfig::default()
            },
            ..ImageConfig::default()
        }
    }

    #[test]
    fn what_the_user_says_wins() {
        let mut options = RunOptions::default();
        apply_defaults(&mut options, &image());
        assert_eq!(
            (options.entrypoint.as_deref(), &options.command[..]),
            (Some(&["/start".to_owned()][..]), &["serve".to_owned()][..])
        );
        assert_eq!(
            (options.user.as_deref(), options.workdir.as_deref()),
            (Some("web"), Some("/srv"))
        );
        // An empty one takes the image's away.
        let mut options = RunOptions {
            entrypoint: Some(Vec::new()),
            ..RunOptions::default()
        };
        apply_defaults(&mut options, &image());
        assert!(options.entrypoint.is_some_and(|own| own.is_empty()) && options.command.is_empty());
        let mut options = RunOptions {
            entrypoint: Some(vec!["sh".into()]),
            env: vec!["A=3".into()],
            user: Some("0".into()),
            labels: vec![("x".into(), "mine".into())],
            ..RunOptions::default()
        };
        apply_defaults(&mut options, &image());
        assert!(options.command.is_empty());
        assert_eq!(options.env, ["A=3", "B=2"]);
        assert_eq!((options.user.as_deref(), options.labels.len()), (Some("0"), 1));
    }
}
