//! The kernel reads what was unpacked: a layer over another one in a mount.

use super::*;

/// What a mount of `upper` over `lower` shows; nothing where this machine mounts no such.
fn merged(scratch: &Scratch, user: bool) -> Option<String> {
    let base = scratch.base.display();
    let option = if user { ",userxattr" } else { "" };
    let script = format!(
        "mkdir -p {base}/merged && mount -t overlay overlay -o ro,lowerdir={base}/upper:{base}/lower{option} {base}/merged || exit 9
        cd {base}/merged && find . -mindepth 1 | LC_ALL=C sort | tr '\\n' ' '"
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .output()
        .unwrap();
    if output.status.code() == Some(9) {
        eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_kernel_sees_the_whiteouts() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let lower = Raw::default()
        .file("a", b"")
        .file("b/x", b"")
        .file("b/y", b"")
        .file("c/x", b"")
        .file("c/y", b"")
        .file("d/x", b"")
        .file("e/x", b"")
        .end();
    let upper = Raw::default()
        .file(".wh.a", b"")
        .file("b/new", b"")
        .file("b/.wh..wh..opq", b"")
        .file("c/.wh.x", b"")
        .file(".wh.d", b"")
        .file("d/z", b"")
        .end();
    for options in pack::forms() {
        for (name, archive) in [("lower", &lower), ("upper", &upper)] {
            let path = scratch.base.join(name);
            std::fs::create_dir_all(&path).unwrap();
            let directory = open_dir(&path);
            remove_children(directory.as_fd()).unwrap();
            unpack_layer(&archive[..], directory.as_fd(), None, &options).unwrap();
        }
        if let Some(shown) = merged(&scratch, options.form == Form::Rootless) {
            assert_eq!(shown, "./b ./b/new ./c ./c/y ./d ./d/z ./e ./e/x ", "{options:?}");
        }
    }
}
