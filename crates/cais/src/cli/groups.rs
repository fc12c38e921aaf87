//! Commands by Docker's longer names: `container ls` is `ps`, `image pull` is `pull`.

/// One other name of a command.
#[derive(Debug)]
pub(super) struct Alias {
    /// The group.
    pub(super) group: &'static str,
    /// The name in it.
    pub(super) name: &'static str,
    /// The command.
    pub(super) command: &'static str,
    /// Whether it is a third name that help leaves out.
    hidden: bool,
}

const fn alias(group: &'static str, name: &'static str, command: &'static str) -> Alias {
    Alias {
        group,
        name,
        command,
        hidden: false,
    }
}

const fn hidden(group: &'static str, name: &'static str, command: &'static str) -> Alias {
    Alias {
        group,
        name,
        command,
        hidden: true,
    }
}

/// All of them. One whose command is not there is left out.
pub(super) const ALIASES: [Alias; 40] = [
    alias("container", "attach", "attach"),
    alias("container", "commit", "commit"),
    alias("container", "cp", "cp"),
    alias("container", "create", "create"),
    alias("container", "diff", "diff"),
    alias("container", "exec", "exec"),
    alias("container", "export", "export"),
    alias("container", "kill", "kill"),
    alias("container", "logs", "logs"),
    alias("container", "ls", "ps"),
    hidden("container", "list", "ps"),
    hidden("container", "ps", "ps"),
    alias("container", "pause", "pause"),
    alias("container", "port", "port"),
    alias("container", "rename", "rename"),
    alias("container", "restart", "restart"),
    alias("container", "rm", "rm"),
    hidden("container", "remove", "rm"),
    alias("container", "run", "run"),
    alias("container", "start", "start"),
    alias("container", "stats", "stats"),
    alias("container", "stop", "stop"),
    alias("container", "top", "top"),
    alias("container", "unpause", "unpause"),
    alias("container", "update", "update"),
    alias("container", "wait", "wait"),
    alias("image", "build", "build"),
    alias("image", "history", "history"),
    alias("image", "import", "import"),
    alias("image", "load", "load"),
    alias("image", "ls", "images"),
    hidden("image", "list", "images"),
    alias("image", "pull", "pull"),
    alias("image", "push", "push"),
    alias("image", "rm", "rmi"),
    hidden("image", "remove", "rmi"),
    alias("image", "save", "save"),
    alias("image", "tag", "tag"),
    alias("system", "events", "events"),
    alias("system", "info", "info"),
];

/// The tree with the other names in it, for help, man pages and completions.
pub(super) fn add_groups(command: clap::Command) -> clap::Command {
    let mut tree = command;
    for alias in &ALIASES {
        let known = tree.find_subcommand(alias.command).cloned();
        let taken = tree
            .find_subcommand(alias.group)
            .is_none_or(|group| group.find_subcommand(alias.name).is_some());
        let Some(known) = known.filter(|_| !taken) else {
            continue;
        };
        let known = known.name(alias.name).hide(alias.hidden);
        tree = tree.mut_subcommand(alias.group, |group| group.subcommand(known));
    }
    tree
}
