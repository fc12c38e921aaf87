//! `cais info` and `cais version`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::FormatArgs;
use cais::template::Template;
use cais_engine::info::{architectures, kernel_release, read_info};
use cais_engine::units::bytes_size;
use cais_json::{Value, json};
use std::fmt::Write;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of Docker's API whose words and forms are spoken, and the oldest one.
const API: &str = "1.51";
const OLDEST_API: &str = "1.24";

/// Prints data by a template; `None` where no template was given.
fn by_format(data: &Value, format: Option<&str>) -> Option<Result<String, Failure>> {
    match format? {
        "" => None,
        "json" => Some(Ok(data.to_string() + "\n")),
        text => Some(
            Template::parse(text)
                .and_then(|template| template.render(data))
                .map(|text| text + "\n")
                .map_err(Failure::from),
        ),
    }
}

pub(crate) fn version(args: &FormatArgs) -> Result<u8, Failure> {
    let (_, arch) = architectures();
    let kernel = kernel_release();
    let data = json!({
        "Client": {
            "Platform": { "Name": "cais" },
            "Version": VERSION,
            "ApiVersion": API,
            "APIVersion": API,
            "DefaultAPIVersion": API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "BuildTime": "",
            "Context": "default",
            "Experimental": false,
        },
        "Server": {
            "Platform": { "Name": "cais" },
            "Components": [{
                "Name": "Engine",
                "Version": VERSION,
                "Details": {
                    "ApiVersion": API,
                    "Arch": arch,
                    "BuildTime": "",
                    "Experimental": "false",
                    "GitCommit": "",
                    "GoVersion": "",
                    "KernelVersion": kernel,
                    "MinAPIVersion": OLDEST_API,
                    "Os": "linux",
                },
            }],
            "Version": VERSION,
            "ApiVersion": API,
            "APIVersion": API,
            "MinAPIVersion": OLDEST_API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "KernelVersion": kernel,
            "BuildTime": "",
        },
    });
    let text = match by_format(&data, args.format.as_deref()) {
        Some(text) => text?,
        None => format!(
            "cais version {VERSION}\n\nClient:\n Version:           {VERSION}\n API version:       {API}\n OS/Arch:           linux/{arch}\n\n\
             Server: the same program; there is no daemon\n Engine:\n  Version:          {VERSION}\n  API version:      {API} (minimum version {OLDEST_API})\n  OS/Arch:          linux/{arch}\n  Kernel:           {kernel}\n"
        ),
    };
    print(&text)?;
    Ok(0)
}

pub(crate) fn info(args: &FormatArgs) -> Result<u8, Failure> {
    let data = read_info(&engine()?, VERSION)?;
    let text = match by_format(&data, args.format.as_deref()) {
        Some(text) => text?,
        None => page(&data),
    };
    print(&text)?;
    Ok(0)
}

/// The lines of `info`: what is shown, the key, and how deep it stands.
const LINES: [(&str, &str); 19] = [
    (" Containers", "Containers"),
    ("  Running", "ContainersRunning"),
    ("  Paused", "ContainersPaused"),
    ("  Stopped", "ContainersStopped"),
    (" Images", "Images"),
    (" Server Version", "ServerVersion"),
    (" Storage Driver", "Driver"),
    (" Logging Driver", "LoggingDriver"),
    (" Cgroup Driver", "CgroupDriver"),
    (" Cgroup Version", "CgroupVersion"),
    (" Default Runtime", "DefaultRuntime"),
    (" Kernel Version", "KernelVersion"),
    (" Operating System", "OperatingSystem"),
    (" OSType", "OSType"),
    (" Architecture", "Architecture"),
    (" CPUs", "NCPU"),
    (" Name", "Name"),
    (" ID", "ID"),
    (" Docker Root Dir", "DockerRootDir"),
];

fn page(data: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let words = |key: &str| -> Vec<String> {
        let list = data.pointer(key).and_then(Value::as_array);
        list.into_iter().flatten().map(word).collect()
    };
    let mut text = "Client:\n Context:    default\n Debug Mode: false\n\nServer:\n".to_owned();
    // Writing to a String cannot fail.
    let mut line = |name: &str, value: &str| writeln!(text, "{name}: {value}").unwrap_or_default();
    for (name, key) in LINES {
        line(name, &word(data.get(key).unwrap_or(&Value::Null)));
        match key {
            "Driver" => line(
                "  Backing Filesystem",
                &word(data.pointer("/DriverStatus/0/1").unwrap_or(&Value::Null)),
            ),
            "CgroupVersion" => {
                line(" Plugins", "");
                line("  Network", &words("/Plugins/Network").join(" "));
                line("  Log", &words("/Plugins/Log").join(" "));
                line(" Security Options", &words("/SecurityOptions").join(" "));
            }
            "NCPU" => {
                let memory = data.get("MemTotal").and_then(Value::as_u64).unwrap_or(0);
                line(" Total Memory", &bytes_size(memory));
            }
            _ => {}
        }
    }
    for warning in words("/Warnings") {
        text.push_str(&warning);
        text.push('\n');
    }
    text
}
