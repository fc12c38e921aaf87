//! Flags that contradict each other, or whose values do not fit together. Checked
//! before anything is done.

use super::error::OptionError;
use super::{
    HostAddress, IpcMode, LogDriver, NamespaceMode, NetworkMode, RestartPolicy, RunOptions, UsernsMode,
};

/// The smallest memory limit: a few pages, below which no program starts.
const SMALLEST_MEMORY: u64 = 256 * 1024;

/// What the parser knows beside the options: whether a flag with a default was written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    /// `--userns`.
    pub userns: bool,
}

/// Checks all options together.
///
/// # Errors
/// The first contradiction found.
pub fn validate(options: &RunOptions, written: Written) -> Result<(), OptionError> {
    check_namespaces(options, written)?;
    check_memory(options)?;
    check_cpu(options)?;
    check_values(options)?;
    if options.remove && options.restart != RestartPolicy::No {
        return Err(conflict("--restart", "--rm", ""));
    }
    if options.tty && options.log.driver == LogDriver::Passthrough {
        return Err(conflict("--tty", "--log-driver passthrough", ""));
    }
    if options.restart != RestartPolicy::No && options.log.driver == LogDriver::Passthrough {
        return Err(conflict(
            "--restart",
            "--log-driver passthrough",
            ": the caller's streams are there for one run",
        ));
    }
    if options.detach && !options.attach.is_empty() {
        return Err(conflict("--attach", "--detach", ""));
    }
    if !options.network.links.is_empty() && !options.is_in_networks() {
        return Err(conflict("--link", "--network none, host or container:X", ""));
    }
    // An image may have a command of its own.
    let is_image = matches!(options.root, super::RootSource::Image { .. });
    if !is_image && options.command.is_empty() && options.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        return Err(OptionError::form(
            "COMMAND",
            "",
            "given: the image has no command of its own",
        ));
    }
    Ok(())
}

fn conflict(one: &'static str, other: &'static str, why: &'static str) -> OptionError {
    OptionError::Conflict { one, other, why }
}

fn check_namespaces(options: &RunOptions, written: Written) -> Result<(), OptionError> {
    let modes = &options.namespaces;
    if modes.uts != NamespaceMode::Private && (options.hostname.is_some() || options.domainname.is_some()) {
        return Err(conflict(
            "--hostname",
            "--uts",
            ": the host name belongs to the shared namespace",
        ));
    }
    if matches!(modes.network, NetworkMode::Container(_)) && options.hostname.is_some() {
        return Err(conflict("--hostname", "--network container:", " (as Docker)"));
    }
    if let NetworkMode::Path(_) = modes.network
        && modes.user != UsernsMode::Host
        && !options.security.privileged
    {
        return Err(conflict(
            "--network ns:",
            "--userns auto",
            ": the namespace belongs to the host's users; add --userns=host",
        ));
    }
    check_ports(options)?;
    check_names(options)?;
    check_held(options)?;
    let shares_shm = matches!(modes.ipc, IpcMode::Host | IpcMode::Container(_) | IpcMode::None);
    if shares_shm && options.limits.shm_size.is_some() {
        return Err(conflict(
            "--shm-size",
            "--ipc",
            ": /dev/shm is not the container's own",
        ));
    }
    let userns = modes.user != UsernsMode::Host && !options.security.privileged;
    if options.security.privileged && written.userns && modes.user != UsernsMode::Host {
        return Err(conflict(
            "--privileged",
            "--userns",
            ": a privileged container has the host's ids",
        ));
    }
    if userns && modes.pid == NamespaceMode::Host {
        return Err(conflict(
            "--pid host",
            "--userns auto",
            ": add --userns=host, which gives the container the host's ids",
        ));
    }
    if options.init && modes.pid != NamespaceMode::Private {
        return Err(conflict(
            "--init",
            "--pid",
            ": only the first process of a pid namespace can be its init",
        ));
    }
    Ok(())
}

/// Ports need an interface of ours.
fn check_ports(options: &RunOptions) -> Result<(), OptionError> {
    if matches!(
        options.namespaces.network,
        NetworkMode::Networks(_) | NetworkMode::Cni(_)
    ) {
        return Ok(());
    }
    let network = &options.network;
    if !network.publish.is_empty() || network.publish_all {
        return Err(conflict(
            "--publish",
            "--network none, host, container: or ns:",
            ": there is no interface of cais's to lead to (with the host's network the program's ports are the host's)",
        ));
    }
    Ok(())
}

/// Names that a shared namespace has already, or that stand for nothing.
fn check_names(options: &RunOptions) -> Result<(), OptionError> {
    let network = &options.network;
    let shares = matches!(options.namespaces.network, NetworkMode::Container(_));
    let why = ": whoever shares a network has its names and its resolver";
    if shares && crate::resolver::is_asked(options) {
        return Err(conflict("--dns", "--network container:", why));
    }
    if shares && !network.add_hosts.is_empty() {
        return Err(conflict("--add-host", "--network container:", why));
    }
    let mut addresses = network.add_hosts.iter().map(|(_, address)| *address);
    if options.namespaces.network == NetworkMode::None && addresses.any(|it| it == HostAddress::Gateway) {
        return Err(conflict(
            "--add-host NAME:host-gateway",
            "--network none",
            ": nothing leads to the host",
        ));
    }
    Ok(())
}

/// What a container is held to needs an interface of ours, and a container that cannot
/// change it.
fn check_held(options: &RunOptions) -> Result<(), OptionError> {
    let network = &options.network;
    let is_ours = matches!(options.namespaces.network, NetworkMode::Networks(_));
    let elsewhere = |flag| {
        let why = ": there is no interface of cais's to hold";
        Err(conflict(flag, "--network none, host, container: or ns:", why))
    };
    if !is_ours && !network.shape.is_plain() {
        return elsewhere("--network-rate, --network-latency, --network-loss");
    }
    if network.egress.is_none() {
        return Ok(());
    }
    if !is_ours {
        return elsewhere("--egress");
    }
    if options.security.privileged || may_change_networks(options) {
        return Err(conflict(
            "--egress deny",
            "--privileged or --cap-add NET_ADMIN",
            ": the container could lift what holds it",
        ));
    }
    Ok(())
}

/// Whether the container gets CAP_NET_ADMIN.
pub(crate) fn may_change_networks(options: &RunOptions) -> bool {
    let names = |list: &[String], wanted: &str| {
        list.iter().any(|name| {
            let name = name.to_ascii_uppercase();
            name == "ALL" || name.strip_prefix("CAP_").unwrap_or(&name) == wanted
        })
    };
    options.security.privileged
        || names(&options.security.cap_add, "NET_ADMIN") && !names(&options.security.cap_drop, "NET_ADMIN")
}

fn check_memory(options: &RunOptions) -> Result<(), OptionError> {
    let limits = &options.limits;
    if let Some(memory) = limits.memory
        && memory < SMALLEST_MEMORY
    {
        return Err(OptionError::range("--memory", memory, "at least 256k"));
    }
    if let Some(swap) = limits.memory_swap.filter(|swap| *swap > 0) {
        let Some(memory) = limits.memory else {
            return Err(conflict(
                "--memory-swap",
                "no --memory",
                ": swap is limited together with memory",
            ));
        };
        if swap.cast_unsigned() < memory {
            return Err(OptionError::range(
                "--memory-swap",
                swap,
                "it counts memory and swap together, so at least --memory",
            ));
        }
    }
    if let (Some(memory), Some(reservation)) = (limits.memory, limits.memory_reservation)
        && reservation > memory
    {
        return Err(OptionError::range(
            "--memory-reservation",
            reservation,
            "at most --memory",
        ));
    }
    if limits.oom_kill_disable && limits.memory.is_none() {
        return Err(conflict(
            "--oom-kill-disable",
            "no --memory",
            ": without a limit the whole host would stop",
        ));
    }
    Ok(())
}

fn check_cpu(options: &RunOptions) -> Result<(), OptionError> {
    let limits = &options.limits;
    if limits.nano_cpus.is_some() && limits.cpu_period.is_some() {
        return Err(conflict(
            "--cpus",
            "--cpu-period",
            ": --cpus sets both period and quota",
        ));
    }
    if limits.nano_cpus.is_some() && limits.cpu_quota.is_some() {
        return Err(conflict(
            "--cpus",
            "--cpu-quota",
            ": --cpus sets both period and quota",
        ));
    }
    if let Some(period) = limits
        .cpu_period
        .filter(|period| !(1000..=1_000_000).contains(period))
    {
        return Err(OptionError::range(
            "--cpu-period",
            period,
            "1000 to 1000000 microseconds",
        ));
    }
    if let Some(quota) = limits.cpu_quota.filter(|quota| *quota > 0 && *quota < 1000) {
        return Err(OptionError::range(
            "--cpu-quota",
            quota,
            "at least 1000 microseconds, or -1 for none",
        ));
    }
    Ok(())
}

fn check_values(options: &RunOptions) -> Result<(), OptionError> {
    let limits = &options.limits;
    if let Some(value) = limits.memory_swappiness.filter(|value| *value > 100) {
        return Err(OptionError::range(
            "--memory-swappiness",
            value,
            "0 to 100, or -1",
        ));
    }
    if let Some(value) = limits
        .oom_score_adj
        .filter(|value| !(-1000..=1000).contains(value))
    {
        return Err(OptionError::range("--oom-score-adj", value, "-1000 to 1000"));
    }
    if let Some(value) = limits
        .blkio_weight
        .filter(|value| *value != 0 && !(10..=1000).contains(value))
    {
        return Err(OptionError::range(
            "--blkio-weight",
            value,
            "10 to 1000, or 0 for none",
        ));
    }
    if let Some(value) = limits.shm_size.filter(|value| *value == 0) {
        return Err(OptionError::range("--shm-size", value, "at least 1 byte"));
    }
    if let Some(parent) = &limits.cgroup_parent
        && (parent.split('/').any(|part| part == "..") || parent.trim_matches('/').is_empty())
    {
        return Err(OptionError::form(
            "--cgroup-parent",
            parent,
            "a path of cgroups without '..'",
        ));
    }
    if let Some(directory) = &options.workdir
        && !directory.starts_with('/')
    {
        return Err(OptionError::form("--workdir", directory, "an absolute path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut RunOptions)) -> Result<(), OptionError> {
        let mut options = RunOptions {
            command: vec!["true".to_owned()],
            ..RunOptions::default()
        };
        change(&mut options);
        validate(&options, Written::default())
    }

    #[test]
    fn what_fits_together() {
        assert!(check(|_| {}).is_ok());
        assert!(check(|options| options.namespaces.network = NetworkMode::Host).is_ok());
        assert!(check(|options| options.limits.memory = Some(1 << 20)).is_ok());
        assert!(
            check(|options| {
                options.namespaces.pid = NamespaceMode::Host;
                options.namespaces.user = UsernsMode::Host;
            })
            .is_ok()
        );
    }

    #[test]
    fn what_does_not() {
        type Change = fn(&mut RunOptions);
        let changes: [(&str, Change); 14] = [
            ("no command", |options| options.command.clear()),
            ("pid host in a user namespace", |options| {
                options.namespaces.pid = NamespaceMode::Host;
            }),
            ("hostname without a namespace", |options| {
                options.namespaces.uts = NamespaceMode::Host;
                options.hostname = Some("x".to_owned());
            }),
            ("shm-size with ipc host", |options| {
                options.namespaces.ipc = IpcMode::Host;
                options.limits.shm_size = Some(1);
            }),
            ("init without a pid namespace", |options| {
                options.init = true;
                options.namespaces.pid = NamespaceMode::Container("x".to_owned());
            }),
            ("memory 0", |options| options.limits.memory = Some(0)),
            ("swap without memory", |options| {
                options.limits.memory_swap = Some(1 << 20);
            }),
            ("swap below memory", |options| {
                options.limits.memory = Some(2 << 20);
                options.limits.memory_swap = Some(1 << 20);
            }),
            ("reservation above memory", |options| {
                options.limits.memory = Some(1 << 20);
                options.limits.memory_reservation = Some(2 << 20);
            }),
            ("cpus and quota", |options| {
                options.limits.nano_cpus = Some(1_000_000_000);
                options.limits.cpu_quota = Some(5000);
            }),
            ("period", |options| options.limits.cpu_period = Some(1)),
            ("swappiness", |options| {
                options.limits.memory_swappiness = Some(101);
            }),
            ("cgroup parent", |options| {
                options.limits.cgroup_parent = Some("../x".to_owned());
            }),
            ("workdir", |options| options.workdir = Some("x".to_owned())),
        ];
        for (name, change) in changes {
            assert!(check(change).is_err(), "{name}");
        }
    }
}
