//! From the flags of `cais run` to what the engine takes.

use crate::failure::Failure;
use crate::output::program;
use cais::cli::RunArgs;
use cais_engine::config::Config;
use cais_engine::options::validate::{Written, validate};
use cais_engine::options::{
    HealthOptions, HealthProbe, LimitOptions, LogOptions, MountOption, NamespaceOptions, NetworkMode,
    NetworkOptions, OptionError, RootSource, RunOptions, SecurityOptions, devices, health, logging, mount,
    namespaces, network, process, restart, security, signal, size,
};
use cais_order::InOrder;
use std::path::{Path, PathBuf};

/// Reads all flags, fills in what is configured, and checks all of it together.
pub(super) fn options_of(args: &RunArgs, config: &Config) -> Result<RunOptions, Failure> {
    let cwd = std::env::current_dir()
        .map_err(|error| Failure::new(format!("cannot tell the working directory: {error}")).code(125))?;
    for (flag, given, only, instead) in args.fixed.table() {
        if let Some(value) = given.filter(|value| value.as_str() != only) {
            let text = format!("{flag} {value}: not supported: {instead}");
            return Err(Failure::new(text).code(125));
        }
    }
    let (root, command) = root_and_command(args, &cwd)?;
    let mut options = RunOptions {
        root,
        command,
        // An empty one takes the image's away.
        entrypoint: args.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        name: args.name.as_deref().map(process::check_name).transpose()?,
        hostname: args
            .hostname
            .as_deref()
            .map(|name| process::check_hostname("--hostname", name))
            .transpose()?,
        domainname: args
            .domainname
            .as_deref()
            .map(|name| process::check_hostname("--domainname", name))
            .transpose()?,
        user: args.user.clone(),
        group_add: args.group_add.clone(),
        workdir: args.workdir.clone(),
        env: environment(&args.env, &args.env_file)?,
        labels: labels(&args.label, &args.label_file)?,
        interactive: args.interactive,
        tty: args.tty,
        detach: args.detach,
        remove: args.rm,
        init: args.init,
        stop_signal: args
            .stop_signal
            .as_deref()
            .map(signal::check_signal)
            .transpose()?,
        stop_timeout: args.stop_timeout,
        detach_keys: args.detach_keys.clone(),
        sdnotify: args.sdnotify.clone(),
        cidfile: args.cidfile.as_ref().map(PathBuf::from),
        mounts: mounts(args, &cwd)?,
        read_only: args.read_only,
        security: security_options(args, &cwd)?,
        limits: limits(args)?,
        namespaces: namespace_options(args, config)?,
        network: network_options(args)?,
        devices: each(&args.device, devices::parse_device)?,
        sysctls: each(&args.sysctl, process::parse_sysctl)?,
        annotations: each(&args.annotation, |text| process::parse_pair("--annotation", text))?,
        restart: args
            .restart
            .as_deref()
            .map(restart::parse_restart)
            .transpose()?
            .unwrap_or_default(),
        health: health_options(&args.health)?,
        log: log_options(args, config)?,
        attach: each(&args.attach, process::parse_attach)?,
    };
    config.fill(&mut options);
    validate(
        &options,
        Written {
            userns: args.userns.is_some(),
        },
    )?;
    Ok(options)
}

fn each<T, S: AsRef<str>>(
    texts: &[S],
    parse: impl Fn(&str) -> Result<T, OptionError>,
) -> Result<Vec<T>, OptionError> {
    texts.iter().map(|text| parse(text.as_ref())).collect()
}

/// The image and the command, or with `--rootfs` only the command.
fn root_and_command(args: &RunArgs, cwd: &Path) -> Result<(RootSource, Vec<String>), Failure> {
    if let Some(text) = &args.rootfs {
        let (path, writable) = security::parse_rootfs(text, cwd)?;
        return Ok((RootSource::Directory { path, writable }, args.words.clone()));
    }
    match args.words.split_first() {
        Some((image, command)) if image == "host" => Ok((RootSource::Host, command.to_vec())),
        Some((image, command)) => Ok((
            RootSource::Image {
                name: image.clone(),
                manifest: String::new(),
                layers: Vec::new(),
            },
            command.to_vec(),
        )),
        None => Err(no_image("run")),
    }
}

/// `--label-file` first, then `--label`; later ones win.
fn labels(labels: &[String], files: &[String]) -> Result<Vec<(String, String)>, OptionError> {
    let mut all: Vec<(String, String)> = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|error| OptionError::File {
            flag: "--label-file",
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            all.push(process::parse_label(line)?);
        }
    }
    all.extend(each(labels, process::parse_label)?);
    let mut last: Vec<(String, String)> = Vec::with_capacity(all.len());
    for (key, value) in all {
        last.retain(|(known, _)| *known != key);
        last.push((key, value));
    }
    Ok(last)
}

/// `--log-driver` and `--log-opt`; without them what is configured.
fn log_options(args: &RunArgs, config: &Config) -> Result<LogOptions, OptionError> {
    let name = args.log_driver.as_ref().unwrap_or(&config.log_driver.value);
    // The options that are configured belong to the driver that is.
    let mut options = if *name == config.log_driver.value {
        config.log_opts.value.clone()
    } else {
        Vec::new()
    };
    for text in &args.log_opt {
        let (key, value) = logging::parse_log_opt(text)?;
        options.retain(|(known, _)| *known != key);
        options.push((key, value));
    }
    let log = LogOptions {
        driver: logging::parse_driver(name)?,
        options,
    };
    logging::check(&log)?;
    Ok(log)
}

/// `--health-…`.
fn health_options(args: &cais::cli::health::HealthArgs) -> Result<HealthOptions, OptionError> {
    let time = |flag, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| health::parse_duration(flag, text));
        parsed.transpose().map(Option::unwrap_or_default)
    };
    let probes = [
        args.health_cmd
            .as_ref()
            .filter(|line| !line.is_empty())
            .map(|line| Ok(HealthProbe::Shell(line.clone()))),
        args.health_http.as_deref().map(health::parse_http),
        args.health_tcp.as_deref().map(health::parse_tcp),
        args.health_unix.as_deref().map(health::parse_unix),
    ];
    let mut probes = probes.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    if probes.len() > 1 {
        return Err(OptionError::Conflict {
            one: "--health-cmd, --health-http, --health-tcp",
            other: "--health-unix",
            why: ": give one of them",
        });
    }
    let options = HealthOptions {
        disabled: args.no_healthcheck,
        probe: probes.pop(),
        interval: time("--health-interval", &args.health_interval)?,
        timeout: time("--health-timeout", &args.health_timeout)?,
        start_period: time("--health-start-period", &args.health_start_period)?,
        start_interval: time("--health-start-interval", &args.health_start_interval)?,
        retries: args.health_retries.unwrap_or(0),
        on_failure: args
            .health_on_failure
            .as_deref()
            .map(health::parse_action)
            .transpose()?
            .unwrap_or_default(),
    };
    let given = HealthOptions {
        disabled: false,
        ..options.clone()
    };
    if options.disabled && given != HealthOptions::default() {
        return Err(OptionError::Conflict {
            one: "--no-healthcheck",
            other: "--health-*",
            why: "",
        });
    }
    Ok(options)
}

/// What is said where no image is given.
pub(super) fn no_image(verb: &str) -> Failure {
    Failure::new(format!(
        "\"{0} {verb}\" requires at least 1 argument.\nSee '{0} {verb} --help'.",
        program()
    ))
}

/// `--env-file` first, then `--env`; later ones win.
pub(super) fn environment(env: &[String], files: &[String]) -> Result<Vec<String>, OptionError> {
    let own = |name: &str| std::env::var(name).ok();
    let mut all = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|error| OptionError::File {
            flag: "--env-file",
            path: path.clone(),
            reason: error.to_string(),
        })?;
        all.extend(process::parse_env_file(&text, &own)?);
    }
    for text in env {
        all.push(process::parse_env(text, &own)?);
    }
    Ok(all)
}

fn mounts(args: &RunArgs, cwd: &Path) -> Result<Vec<MountOption>, OptionError> {
    let mut all = each(&args.volume, |text| mount::parse_volume(text, cwd))?;
    mount::check_labels(&all, &|| Path::new("/sys/fs/selinux/enforce").exists())?;
    all.extend(each(&args.mount, mount::parse_mount)?);
    all.extend(each(&args.tmpfs, mount::parse_tmpfs)?);
    let mut targets: Vec<&str> = all.iter().map(|mount| mount.target.as_str()).collect();
    targets.order();
    if let Some([twice, ..]) = targets.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(OptionError::File {
            flag: "--volume",
            path: (*twice).to_owned(),
            reason: "it is mounted twice".to_owned(),
        });
    }
    Ok(all)
}

fn security_options(args: &RunArgs, cwd: &Path) -> Result<SecurityOptions, OptionError> {
    let mut options = SecurityOptions {
        privileged: args.privileged,
        cap_add: each(&args.cap_add, |text| {
            security::parse_capability("--cap-add", text)
        })?,
        cap_drop: each(&args.cap_drop, |text| {
            security::parse_capability("--cap-drop", text)
        })?,
        ..SecurityOptions::default()
    };
    for text in &args.security_opt {
        security::parse_security_opt(&mut options, text, cwd)?;
    }
    Ok(options)
}

fn limits(args: &RunArgs) -> Result<LimitOptions, OptionError> {
    let optional = |flag, text: &Option<String>| {
        let given = text.as_deref().filter(|text| !size::is_zero(text));
        given.map(|text| size::parse_size(flag, text)).transpose()
    };
    let list = |flag, text: &Option<String>| {
        text.as_deref()
            .map(|text| size::check_cpu_list(flag, text))
            .transpose()
    };
    let bytes = |flag, texts: &[String]| each(texts, |text| devices::parse_bytes_rate(flag, text));
    let operations = |flag, texts: &[String]| each(texts, |text| devices::parse_operations_rate(flag, text));
    Ok(LimitOptions {
        // 0 is a slip here, and no wish for none.
        memory: args
            .memory
            .as_deref()
            .map(|text| size::parse_size("--memory", text))
            .transpose()?,
        memory_swap: args
            .memory_swap
            .as_deref()
            .map(|text| size::parse_size_or_unlimited("--memory-swap", text))
            .transpose()?,
        memory_reservation: optional("--memory-reservation", &args.memory_reservation)?,
        // Docker's -1 is its default: nothing is set.
        memory_swappiness: args
            .memory_swappiness
            .filter(|value| *value != -1)
            .map(|value| u64::try_from(value).unwrap_or(u64::MAX)),
        oom_kill_disable: args.oom_kill_disable,
        oom_score_adj: args.oom_score_adj,
        nano_cpus: size::parse_some_cpus(args.cpus.as_deref())?,
        cpu_shares: args.cpu_shares,
        cpu_period: args.cpu_period.filter(|period| *period != 0),
        cpu_quota: args.cpu_quota,
        cpu_rt_period: args.cpu_rt_period,
        cpu_rt_runtime: args.cpu_rt_runtime,
        blkio_weight_device: each(&args.blkio_weight_device, devices::parse_device_weight)?,
        cpuset_cpus: list("--cpuset-cpus", &args.cpuset_cpus)?,
        cpuset_mems: list("--cpuset-mems", &args.cpuset_mems)?,
        pids: args.pids_limit,
        blkio_weight: args.blkio_weight,
        device_read_bps: bytes("--device-read-bps", &args.device_read_bps)?,
        device_write_bps: bytes("--device-write-bps", &args.device_write_bps)?,
        device_read_iops: operations("--device-read-iops", &args.device_read_iops)?,
        device_write_iops: operations("--device-write-iops", &args.device_write_iops)?,
        ulimits: each(&args.ulimit, process::parse_ulimit)?,
        shm_size: optional("--shm-size", &args.shm_size)?,
        device_cgroup_rules: each(&args.device_cgroup_rule, devices::check_device_rule)?,
        cgroup_parent: args.cgroup_parent.clone(),
    })
}

fn namespace_options(args: &RunArgs, config: &Config) -> Result<NamespaceOptions, OptionError> {
    let mut modes = NamespaceOptions::default();
    if let Some(text) = args.userns.as_ref().or(config.userns.value.as_ref()) {
        modes.user = namespaces::parse_userns(text)?;
    }
    if let Some(text) = &args.pid {
        modes.pid = namespaces::parse_pid(text)?;
    }
    if let Some(text) = &args.ipc {
        modes.ipc = namespaces::parse_ipc(text)?;
    }
    if let Some(text) = &args.uts {
        modes.uts = namespaces::parse_uts(text)?;
    }
    if let Some(text) = &args.cgroupns {
        modes.cgroup = namespaces::parse_cgroupns(text)?;
    }
    modes.network = network_mode(args)?;
    Ok(modes)
}

/// The networks, with what the flags for the first one say.
fn network_mode(args: &RunArgs) -> Result<NetworkMode, OptionError> {
    let mut mode = network::parse_networks(&args.network)?;
    if let Some(text) = &args.ip {
        let ip = network::parse_address("--ip", text)?;
        network::add_to_first(&mut mode, "--ip", |first| {
            first.ip = Some(ip);
            Ok(())
        })?;
    }
    if let Some(text) = &args.ip6 {
        let ip = network::parse_address("--ip6", text)?;
        network::add_to_first(&mut mode, "--ip6", |first| {
            first.ip6 = Some(ip);
            Ok(())
        })?;
    }
    if let Some(text) = &args.mac_address {
        let mac = network::parse_mac(text)?;
        network::add_to_first(&mut mode, "--mac-address", |first| {
            first.mac = Some(mac);
            Ok(())
        })?;
    }
    for text in &args.network_alias {
        let alias = network::check_alias(text)?;
        network::add_to_first(&mut mode, "--network-alias", |first| {
            first.aliases.push(alias);
            Ok(())
        })?;
    }
    for text in &args.link_local_ip {
        let address = network::parse_address("--link-local-ip", text)?;
        network::add_to_first(&mut mode, "--link-local-ip", |first| {
            first.link_local.push(address);
            Ok(())
        })?;
    }
    Ok(mode)
}

fn network_options(args: &RunArgs) -> Result<NetworkOptions, OptionError> {
    Ok(NetworkOptions {
        publish: each(&args.publish, network::parse_publish)?,
        publish_all: args.publish_all,
        expose: each(&args.expose, network::parse_expose)?,
        publish_mode: args
            .publish_mode
            .as_deref()
            .map(network::parse_publish_mode)
            .transpose()?
            .unwrap_or_default(),
        dns: each(&args.dns, |text| network::parse_address("--dns", text))?,
        dns_search: each(&args.dns_search, network::parse_dns_search)?,
        dns_options: network::parse_dns_options(&args.dns_option)?,
        links: each(&args.link, network::parse_link)?,
        add_hosts: each(&args.add_host, network::parse_add_host)?,
        egress: network::parse_egress(args.egress.as_deref(), &args.egress_allow)?,
        shape: network::parse_shape(
            args.network_rate.as_deref(),
            args.network_latency.as_deref(),
            args.network_loss.as_deref(),
        )?,
    })
}
