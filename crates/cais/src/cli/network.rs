//! The commands about networks, with Docker's flags.

use clap::{Args, Subcommand};

/// `cais network …`.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network
    Create(Box<NetworkCreateArgs>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(NetworkListArgs),
    /// Show everything known about networks as JSON
    Inspect {
        /// Form of the output: "json", or a Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,
        /// As without it: for Docker's command line
        #[arg(short, long, hide = true)]
        verbose: bool,
        /// Names or ids of networks
        #[arg(value_name = "NETWORK", required = true)]
        networks: Vec<String>,
    },
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm {
        /// One that is not there is no error
        #[arg(short, long)]
        force: bool,
        /// Names or ids of networks
        #[arg(value_name = "NETWORK", required = true)]
        networks: Vec<String>,
    },
    /// Remove all networks that no container is in
    Prune(NetworkPruneArgs),
    /// Connect a container to a network, while it runs or not
    Connect(NetworkConnectArgs),
    /// Take a container out of a network
    Disconnect {
        /// One that is not in it is no error
        #[arg(short, long)]
        force: bool,
        /// Name or id of the network
        #[arg(value_name = "NETWORK")]
        network: String,
        /// Name or id of the container
        #[arg(value_name = "CONTAINER")]
        container: String,
    },
    /// Show what a container may reach outside its networks, and what it was refused
    Egress {
        /// Form of the output: "json"
        #[arg(long, value_name = "FORMAT", value_parser = ["json"])]
        format: Option<String>,
        /// Name or id of the container
        #[arg(value_name = "CONTAINER")]
        container: String,
    },
    /// Compare what the kernel has with what it should have
    Check,
    /// Make bridges and the packet filter's table as they should be
    Repair,
    /// The same as repair: after a firewall was loaded anew
    Reload,
}

/// `cais network create`.
#[derive(Debug, Args)]
pub struct NetworkCreateArgs {
    /// What makes the interfaces
    #[arg(short, long, value_name = "DRIVER", value_parser = ["bridge", "macvlan", "none", "null", "host"], default_value = "bridge")]
    pub driver: String,
    /// Subnet: ADDRESS/BITS; one of IPv4 and one of IPv6
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Vec<String>,
    /// Part of the subnet from which addresses are given out
    #[arg(long, value_name = "SUBNET")]
    pub ip_range: Vec<String>,
    /// Address of the bridge
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Vec<String>,
    /// Address that something else has
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub aux_address: Vec<String>,
    /// Nothing leaves the network
    #[arg(long)]
    pub internal: bool,
    /// Addresses of IPv6 too [default: where this host has them]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub ipv6: Option<bool>,
    /// Addresses of IPv4; with =false only those of IPv6
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub ipv4: Option<bool>,
    /// For Docker's command line: containers can always be connected by hand
    #[arg(long)]
    pub attachable: bool,
    /// Set a label
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Option of the driver: mtu, icc, masquerade, name, publish-address; parent, mode for
    /// macvlan; or Docker's long names
    #[arg(short = 'o', long = "opt", value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    pub name: String,
}

/// `cais network ls`.
#[derive(Debug, Args)]
pub struct NetworkListArgs {
    /// Show only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Form of the output: "table", "json", or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only what is so: name=TEXT, id=DIGITS, driver=NAME, label=KEY[=VALUE], type=custom|builtin
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}

/// `cais network prune`.
#[derive(Debug, Args)]
pub struct NetworkPruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only what is so: label=KEY[=VALUE], label!=KEY[=VALUE], until=MOMENT
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
}

/// `cais network connect`.
#[derive(Debug, Args)]
pub struct NetworkConnectArgs {
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Further name in the network
    #[arg(long, value_name = "NAME")]
    pub alias: Vec<String>,
    /// Further address
    #[arg(long, value_name = "ADDRESS")]
    pub link_local_ip: Vec<String>,
    /// Hardware address
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// Of several networks that with the highest one gives the default route
    #[arg(long, value_name = "NUMBER", value_parser = super::parse::parse_number::<i32>)]
    pub gw_priority: Option<i32>,
    /// Name or id of the network
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}
