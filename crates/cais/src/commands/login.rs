//! `cais login` and `cais logout`.

use super::transfer::registry_config;
use crate::failure::Failure;
use crate::output::{print, print_error};
use cais::cli::{LoginArgs, LogoutArgs};
use cais_image::reference::{DOCKER_HUB, check_registry};
use cais_image::registry::config::{AuthFile, Flavour};
use cais_image::registry::{Credentials, Registry, RegistryConfig};
use rustix::termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr};
use std::io::{BufRead, Read, Write};
use std::path::PathBuf;

/// What Docker calls its registry when it speaks of logins.
const DOCKER_HUB_URL: &str = "https://index.docker.io/v1/";
/// No password is longer.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// The registry that is meant: a host, with or without scheme and path around it.
fn registry_name(text: Option<&str>) -> Result<String, Failure> {
    let Some(text) = text else {
        return Ok(DOCKER_HUB.to_owned());
    };
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let name = bare.unwrap_or(text).split('/').next().unwrap_or("");
    check_registry(name).map_err(|fault| Failure::new(format!("{text:?}: {fault}")))?;
    Ok(match name {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
        name => name.to_owned(),
    })
}

/// The file for logins, as it is or new.
fn login_file(config: &RegistryConfig) -> Result<AuthFile, Failure> {
    let failed = |error: cais_image::registry::ConfigError| Failure::new(error.to_string());
    let (path, flavour) = config
        .places()
        .login_file()
        .ok_or_else(|| failed(cais_image::registry::ConfigError::NoPlace))?;
    let file = AuthFile::read(&path, flavour).map_err(failed)?;
    Ok(file.unwrap_or_else(|| AuthFile::new(&path, flavour)))
}

pub(crate) fn login(args: &LoginArgs) -> Result<u8, Failure> {
    let registry = registry_name(args.server.as_deref())?;
    let config = registry_config(args.authfile.as_deref())?;
    let failed = |error: cais_image::registry::ConfigError| Failure::new(error.to_string());
    let mut file = login_file(&config)?;
    if args.get_login {
        return match config.credentials(&registry, "").map_err(failed)? {
            Some(Credentials::Password { username, .. }) => print(&format!("{username}\n")).map(|()| 0),
            _ => Err(Failure::new(format!("not logged into {registry}"))),
        };
    }
    let is_given = args.username.is_some() || args.password.is_some() || args.password_stdin;
    let kept = if is_given {
        None
    } else {
        config.credentials(&registry, "").map_err(failed)?
    };
    if let Some(kept) = kept {
        print("Authenticating with existing credentials...\n")?;
        match verify(&config, &registry, &kept, args.insecure) {
            Ok(_) => return print("Login Succeeded\n").map(|()| 0),
            Err(failure) => print_error(&format!("Login did not succeed, error: {}\n", failure.text())),
        }
    }
    let credentials = ask(args, &registry)?;
    let token = verify(&config, &registry, &credentials, args.insecure)?;
    // What the registry gives in place of the password can do less, and can be taken back.
    let credentials = token.map_or(credentials, Credentials::IdentityToken);
    file.store(&registry, &credentials).map_err(failed)?;
    if !file.has_helper(&registry) {
        print_error(&format!(
            "WARNING! Your password will be stored unencrypted in {}.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/engine/reference/commandline/login/#credentials-store\n\n",
            file.path().display()
        ));
    }
    print("Login Succeeded\n")?;
    Ok(0)
}

/// Asks the registry whether it takes the login; the refresh token that it gives for it, if it
/// gives one.
fn verify(
    config: &RegistryConfig,
    registry: &str,
    credentials: &Credentials,
    insecure: bool,
) -> Result<Option<String>, Failure> {
    let mut options = config
        .options(registry, "")
        .map_err(|error| Failure::new(error.to_string()))?;
    options.credentials = Some(credentials.clone());
    options.insecure |= insecure;
    options.offline = true;
    let failed = |error: cais_image::registry::RegistryError| {
        Failure::new(format!("cannot log in to {registry}: {error}"))
    };
    let client = Registry::new(registry, options).map_err(failed)?;
    client.ping().map_err(failed)?;
    Ok(client.refresh_token())
}

/// Name and password from the command line, standard input, or who sits at the terminal.
fn ask(args: &LoginArgs, registry: &str) -> Result<Credentials, Failure> {
    if args.password_stdin {
        if args.password.is_some() {
            return Err(Failure::new(
                "--password and --password-stdin are mutually exclusive",
            ));
        }
        let username = args.username.clone().filter(|name| !name.is_empty());
        let username =
            username.ok_or_else(|| Failure::new("Must provide --username with --password-stdin"))?;
        let mut password = String::new();
        std::io::stdin()
            .take(PASSWORD_LIMIT)
            .read_to_string(&mut password)
            .map_err(|error| Failure::new(format!("cannot read the password: {error}")))?;
        let password = password.trim_end_matches('\n').trim_end_matches('\r').to_owned();
        return check(username, password);
    }
    if args.password.is_some() {
        print_error("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    }
    if let (Some(username), Some(password)) = (&args.username, &args.password) {
        return check(username.clone(), password.clone());
    }
    if !isatty(std::io::stdin()) {
        return Err(Failure::new(
            "cannot ask for a login: standard input is no terminal: give --username and --password-stdin",
        ));
    }
    if registry == DOCKER_HUB && args.username.is_none() {
        print("Login with your Docker ID to push and pull images from Docker Hub.\n")?;
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None => prompt("Username: ", true)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => prompt("Password: ", false)?,
    };
    check(username, password)
}

fn check(username: String, password: String) -> Result<Credentials, Failure> {
    if username.is_empty() {
        return Err(Failure::new("a user name is required"));
    }
    if password.is_empty() {
        return Err(Failure::new("password is empty"));
    }
    Ok(Credentials::Password { username, password })
}

/// Asks at the terminal; a secret is not shown while it is typed.
fn prompt(text: &str, is_shown: bool) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot ask at the terminal: {error}"));
    let mut output = std::io::stderr();
    output.write_all(text.as_bytes()).map_err(failed)?;
    let input = std::io::stdin();
    let before = tcgetattr(&input).map_err(|errno| failed(errno.into()))?;
    if !is_shown {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &silent).map_err(|errno| failed(errno.into()))?;
    }
    let mut line = String::new();
    let read = input.lock().take(PASSWORD_LIMIT).read_line(&mut line);
    if !is_shown {
        tcsetattr(&input, OptionalActions::Now, &before).map_err(|errno| failed(errno.into()))?;
        output.write_all(b"\n").map_err(failed)?;
    }
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

pub(crate) fn logout(args: &LogoutArgs) -> Result<u8, Failure> {
    let config = registry_config(args.authfile.as_deref())?;
    let failed = |error: cais_image::registry::ConfigError| Failure::new(error.to_string());
    let files: Vec<(PathBuf, Flavour)> = config.places().auth_files();
    if args.all {
        for (path, flavour) in &files {
            if let Some(mut file) = AuthFile::read(path, *flavour).map_err(failed)? {
                for registry in file.list().map_err(failed)? {
                    file.erase(&registry).map_err(failed)?;
                }
            }
        }
        print("Removed login credentials for all registries\n")?;
        return Ok(0);
    }
    let registry = registry_name(args.server.as_deref())?;
    let shown = if registry == DOCKER_HUB {
        DOCKER_HUB_URL
    } else {
        &registry
    };
    let mut had = false;
    for (path, flavour) in &files {
        if let Some(mut file) = AuthFile::read(path, *flavour).map_err(failed)? {
            had |= file.erase(&registry).map_err(failed)?;
        }
    }
    print(&match had {
        true => format!("Removing login credentials for {shown}\n"),
        false => format!("Not logged in to {shown}\n"),
    })?;
    Ok(0)
}
