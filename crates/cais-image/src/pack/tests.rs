//! Tests with real ELF files: made by gcc, and compared with what the machine's loader finds.

use super::*;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A place for one test's files, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cais-pack-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes a library with a function of its name.
    fn library(&self, path: &str, function: &str, flags: &[&str]) {
        let source = format!("int {function}(void) {{ return 1; }}\n");
        let name = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
        let soname = format!("-Wl,-soname,{name}");
        let all: Vec<&str> = ["-shared", "-fPIC", &soname]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        self.compile(path, &source, &all);
    }

    /// Makes a program that does nothing.
    fn program(&self, path: &str, flags: &[&str]) -> PathBuf {
        self.compile(path, "int main(void) { return 0; }\n", flags);
        self.path(path)
    }

    fn compile(&self, path: &str, source: &str, flags: &[&str]) {
        let out = self.path(path);
        std::fs::create_dir_all(out.parent().unwrap()).unwrap();
        let file = out.with_extension("c");
        std::fs::write(&file, source).unwrap();
        let status = Command::new("gcc")
            .current_dir(&self.0)
            .args(["-w", "-o"])
            .args([&out, &file])
            .arg("-Wl,--no-as-needed")
            .args(flags)
            .status()
            .expect("gcc is not installed");
        assert!(status.success(), "{path}");
        std::fs::remove_file(file).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What the machine's own loader finds: the right sides of ldd's lines, sorted.
fn by_ldd(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd")
        .arg(program)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut found: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| {
            let found = line.split_once(" => ").map_or(line, |(_, found)| found);
            let path = found.trim().split(' ').next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect();
    found.sort();
    found
}

fn by_us(program: &Path) -> (Vec<PathBuf>, Load) {
    let host = Host::open(Path::new("/")).unwrap();
    let loader = Loader::new(&host, "").unwrap();
    let load = loader.load(&program.canonicalize().unwrap()).unwrap();
    let mut found: Vec<PathBuf> = load
        .libraries
        .iter()
        .map(|library| library.path.clone())
        .collect();
    found.extend(load.interpreter.clone());
    found.sort();
    (found, load)
}

/// The paths may be written differently: `/a/b/../c` and `/a/c`.
fn real(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut real: Vec<PathBuf> = paths.iter().map(|path| path.canonicalize().unwrap()).collect();
    real.sort();
    real.dedup();
    real
}

#[track_caller]
fn same_as_ldd(program: &Path) -> Load {
    let (ours, load) = by_us(program);
    assert_eq!(real(&ours), real(&by_ldd(program)), "{}", program.display());
    load
}

#[test]
fn run_paths_of_the_program() {
    let place = Place::new("run-paths");
    place.library("lib/libone.so", "one", &[]);
    for (name, flag) in [
        ("rpath", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"),
        ("runpath", "-Wl,--enable-new-dtags,-rpath,${ORIGIN}/../lib"),
        ("first", "-Wl,-rpath,/nowhere:$ORIGIN/../lib"),
    ] {
        let program = place.program(&format!("bin/{name}"), &["-Llib", "-lone", flag]);
        let load = same_as_ldd(&program);
        assert!(load.missing.is_empty(), "{load:?}");
    }
    // Through a link: $ORIGIN is where the program is.
    std::fs::create_dir_all(place.path("other")).unwrap();
    symlink("../bin/rpath", place.path("other/link")).unwrap();
    same_as_ldd(&place.path("other/link"));
    let program = place.program("bin/without", &["-Llib", "-lone"]);
    let (_, load) = by_us(&program);
    assert_eq!(load.missing[0].name, "libone.so");
}

#[test]
fn an_rpath_is_inherited_and_a_runpath_is_not() {
    let place = Place::new("inherit");
    place.library("deep/libdeep.so", "deep", &[]);
    place.library("lib/libmid.so", "mid", &["-Ldeep", "-ldeep"]);
    let both = "$ORIGIN/../lib:$ORIGIN/../deep";
    let common = ["-Llib", "-lmid", "-Wl,--unresolved-symbols=ignore-all"];
    let old = format!("-Wl,--disable-new-dtags,-rpath,{both}");
    let program = place.program("bin/old", &[&common[..], &[&old]].concat());
    assert!(same_as_ldd(&program).missing.is_empty());
    let new = format!("-Wl,--enable-new-dtags,-rpath,{both}");
    let program = place.program("bin/new", &[&common[..], &[&new]].concat());
    let load = same_as_ldd(&program);
    assert_eq!(load.missing.len(), 1, "{load:?}");
    assert_eq!(load.missing[0].name, "libdeep.so");
    // A library with a RUNPATH of its own does not see the program's RPATH.
    place.library(
        "lib/libmid.so",
        "mid",
        &["-Ldeep", "-ldeep", "-Wl,--enable-new-dtags,-rpath,/nowhere"],
    );
    let load = same_as_ldd(&place.path("bin/old"));
    assert_eq!(load.missing.len(), 1, "{load:?}");
}

#[test]
fn variables_stand_for_what_the_loader_puts_in() {
    let place = Place::new("variables");
    let host = Host::open(Path::new("/")).unwrap();
    let loader = Loader::new(&host, "").unwrap();
    drop(loader);
    // Whatever the loader makes of the two, one of these has it.
    for directory in ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"] {
        place.library(&format!("root/{directory}/liblib.so"), "lib", &[]);
    }
    for directory in ["haswell", "x86_64", "aarch64", "xeon_phi"] {
        place.library(&format!("root/{directory}/libplatform.so"), "platform", &[]);
    }
    let paths = "-Wl,-rpath,$ORIGIN/../root/$LIB:$ORIGIN/../root/${PLATFORM}";
    let flags = ["-Lroot/lib", "-llib", "-Lroot/x86_64", "-lplatform", paths];
    same_as_ldd(&place.program("bin/x", &flags));
}

#[test]
fn variants_for_newer_processors_come_first_and_all_are_known() {
    let place = Place::new("hwcaps");
    place.library("lib/libv.so", "v", &[]);
    for variant in ["x86-64-v2", "x86-64-v3", "x86-64-v4", "of-the-future"] {
        place.library(&format!("lib/glibc-hwcaps/{variant}/libv.so"), "v", &[]);
    }
    let program = place.program("bin/x", &["-Llib", "-lv", "-Wl,-rpath,$ORIGIN/../lib"]);
    let load = same_as_ldd(&program);
    let library = load
        .libraries
        .iter()
        .find(|library| library.path.ends_with("libv.so"))
        .unwrap();
    assert_eq!(library.variants.len(), 4, "{library:?}");
}

#[test]
fn names_are_matched_as_the_loader_matches_them() {
    let place = Place::new("names");
    place.library("lib/libone.so", "one", &[]);
    // The same file by a link, another class in the way, and a path instead of a name.
    symlink("libone.so", place.path("lib/libalias.so")).unwrap();
    std::fs::create_dir_all(place.path("wrong")).unwrap();
    std::fs::write(place.path("wrong/libone.so"), b"\x7fELF\x01\x01\x01 damaged").unwrap();
    let path = place.path("lib/libone.so");
    let program = place.program("bin/x", &["-Llib", "-lone", "-Wl,-rpath,$ORIGIN/../lib"]);
    same_as_ldd(&program);
    place.compile(
        "lib/plain.so",
        "int plain(void) { return 1; }\n",
        &["-shared", "-fPIC"],
    );
    let plain = place.path("lib/plain.so");
    let program = place.program(
        "bin/path",
        &[
            plain.to_str().unwrap(),
            path.to_str().unwrap(),
            "-Wl,-rpath,$ORIGIN/../lib",
        ],
    );
    same_as_ldd(&program);
}

#[test]
fn the_programs_of_this_machine() {
    let mut compared = 0;
    for program in [
        "/usr/bin/bash",
        "/usr/bin/perl",
        "/usr/bin/curl",
        "/usr/bin/python3",
        "/usr/sbin/nginx",
        "/usr/bin/git",
        "/usr/bin/gdb",
        "/usr/bin/systemctl",
        "/usr/bin/gcc",
        "/usr/bin/ssh",
    ] {
        if Path::new(program).exists() {
            let load = same_as_ldd(Path::new(program));
            assert!(load.missing.is_empty(), "{load:?}");
            compared += 1;
        }
    }
    assert!(compared > 2);
}

fn collected(request: &Request) -> Collected {
    let host = Host::open(Path::new("/")).unwrap();
    collect(&host, request).unwrap()
}

fn paths(collected: &Collected) -> Vec<String> {
    collected
        .set
        .iter()
        .map(|(path, _)| path.display().to_string())
        .collect()
}

#[test]
fn links_on_the_way_are_kept_and_scripts_bring_their_interpreters() {
    let place = Place::new("collect");
    std::fs::write(place.path("script"), "#!/usr/bin/env bash\n").unwrap();
    Command::new("chmod")
        .arg("+x")
        .arg(place.path("script"))
        .status()
        .unwrap();
    symlink("script", place.path("name")).unwrap();
    let request = Request {
        programs: vec![place.path("name").display().to_string()],
        path: DEFAULT_PATH.to_owned(),
        ..Request::default()
    };
    let found = collected(&request);
    let all = paths(&found);
    for path in ["name", "script"].map(|name| place.path(name).display().to_string()) {
        assert!(all.contains(&path), "{path}");
    }
    for path in [
        "/usr/bin/env",
        "/usr/bin/bash",
        "/etc/passwd",
        "/etc/nsswitch.conf",
        "/tmp",
    ] {
        assert!(all.iter().any(|found| found == path), "{path}");
    }
    assert!(all.iter().any(|path| path.ends_with("libc.so.6")));
    assert!(found.secrets.is_empty(), "{:?}", found.secrets);
    assert!(!all.contains(&"/etc/shadow".to_owned()));
}

#[test]
fn what_is_missing_is_an_error_for_a_program_and_a_warning_for_others() {
    let place = Place::new("missing");
    place.library("lib/libone.so", "one", &[]);
    let program = place.program("bin/x", &["-Llib", "-lone"]).display().to_string();
    let host = Host::open(Path::new("/")).unwrap();
    let mut request = Request {
        programs: vec![program.clone()],
        ..Request::default()
    };
    let error = collect(&host, &request).unwrap_err().to_string();
    assert!(error.contains("libone.so") && error.contains("bin/x"), "{error}");
    request.library_path = place.path("lib").display().to_string();
    collect(&host, &request).unwrap();
    request.programs = vec!["/usr/bin/env".to_owned()];
    request.library_path.clear();
    request.files = vec![(PathBuf::from(&program), Some(PathBuf::from("/bin/x")))];
    let found = collect(&host, &request).unwrap();
    assert!(
        found.warnings.iter().any(|text| text.contains("libone.so")),
        "{:?}",
        found.warnings
    );
    assert!(
        ["/usr/bin/x", "/bin/x"]
            .iter()
            .any(|path| found.set.get(Path::new(path)).is_some())
    );
    request.files = vec![(PathBuf::from("/proc/version"), None)];
    let error = collect(&host, &request).unwrap_err().to_string();
    assert!(error.contains("made anew"), "{error}");
    for (bad, message) in [
        ("no-such-program", "neither a path"),
        ("/etc/passwd", "no program"),
    ] {
        request.programs = vec![bad.to_owned()];
        request.files.clear();
        let error = collect(&host, &request).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn secrets_are_found_and_the_archive_is_the_same_each_time() {
    use std::io::Read;
    let host = Host::open(Path::new("/")).unwrap();
    let request = Request {
        programs: vec!["/usr/bin/env".to_owned()],
        files: vec![(PathBuf::from("/etc/shadow"), None)],
        ..Request::default()
    };
    let archive = || {
        let found = collect(&host, &request).unwrap();
        if Path::new("/etc/shadow").exists() {
            assert_eq!(found.secrets[0].path, Path::new("/etc/shadow"));
        }
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&host, &found.set, ArchiveOptions::default());
        archive.read_to_end(&mut bytes).unwrap();
        bytes
    };
    if rustix::process::geteuid().is_root() {
        assert_eq!(crate::Digest::of(&archive()), crate::Digest::of(&archive()));
    }
}
