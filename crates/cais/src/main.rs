//! The `cais` command.
use cais_engine::{engine::Engine, options::*, run::*};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let e = Engine::new(|n| std::env::var(n).ok()).unwrap();
    let tim = std::env::var("T").is_ok();
    match a[1].as_str() {
        "run" => {
            let mut o = RunOptions::default();
            let mut i = 2;
            loop {
                match a[i].as_str() {
                    "--rm" => o.remove = true,
                    "-d" => o.detach = true,
                    "-i" => o.interactive = true,
                    "-t" => o.tty = true,
                    "-it" => { o.tty = true; o.interactive = true }
                    "--init" => o.init = true,
                    "--userns=host" => o.namespaces.user = UsernsMode::Host,
                    "--privileged" => o.security.privileged = true,
                    "--name" => { i += 1; o.name = Some(a[i].clone()) }
                    "--net" => { i += 1; o.namespaces.network = if a[i]=="host" { NetworkMode::Host } else {NetworkMode::Container(a[i].clone())} }
                    "-u" => { i += 1; o.user = Some(a[i].clone()) }
                    "-m" => { i += 1; o.limits.memory = a[i].parse().ok() }
                    "-v" => { i += 1; let (s, t) = a[i].split_once(':').unwrap(); o.mounts.push(MountOption { kind: MountKind::Bind { source: s.into(), create_source: true, propagation: None, non_recursive: false, options: vec![] }, target: t.into(), read_only: false }) }
                    _ => break,
                }
                i += 1;
            }
            o.command = a[i + 1..].to_vec();
            let d = o.detach;
            let it = o.interactive;
            let p = prepare(&e, o, std::env::var("X").is_ok()).map_err(|x| { eprintln!("cais: {}", chain(&x)); std::process::exit(125) }).unwrap();
            if std::env::var("X").is_ok() { print!("{}", explain(&p)); return; }
            for w in &p.plan.warnings { eprintln!("warning: {w}"); }
            let m = Manner { detach: d, interactive: it, detach_keys: vec![16, 17], timings: if tim { Some(|t| for t in t { eprintln!("{:>9.1} us {}{}", t.took.as_secs_f64() * 1e6, if t.in_stub { "   stub: " } else { "" }, t.name) }) } else { None } };
            match run(&e, &p, &m) {
                Ok(Outcome::Ended(c)) => std::process::exit(c.into()),
                Ok(Outcome::Detached(id)) => println!("{id}"),
                Err(x) => { eprintln!("cais: {}", chain(&x)); std::process::exit(exit_code(&x).into()) }
            }
        }
        "exec" => {
            let mut o = cais_engine::exec::ExecOptions::default();
            let mut i = 2;
            loop { match a[i].as_str() { "-t" => o.tty = true, "-i" => o.interactive = true, "-it" => { o.tty = true; o.interactive = true }, _ => break } i += 1; }
            o.container = a[i].clone();
            o.command = a[i + 1..].to_vec();
            if tim { o.timings = Some(|t| for t in t { eprintln!("{:>9.1} us {}{}", t.took.as_secs_f64() * 1e6, if t.in_stub { "   stub: " } else { "" }, t.name) }); }
            match cais_engine::exec::exec(&e, &o) { Ok(c) => std::process::exit(c.unwrap_or(0).into()), Err(x) => { eprintln!("cais: {}", chain(&x)); std::process::exit(exit_code(&x).into()) } }
        }
        "ps" => for c in cais_engine::list::containers(&e.store).unwrap() { println!("{} {} {:?}", c.record.id.short(), c.record.name, c.status) },
        "stop" => cais_engine::stop::stop(&e.store, &a[2], None, None).unwrap(),
        "sweep" => cais_engine::sweep::sweep(&e.store).unwrap(),
        "rm" => { let id = cais_engine::names::find(&e.store, &a[2]).unwrap(); cais_engine::cleanup::remove_container(&e.store, &id).unwrap() }
        "logs" => { let id = cais_engine::names::find(&e.store, &a[2]).unwrap(); cais_engine::log::read(&cais_engine::log::path(&e.store.container(&id)), |l| { print!("{}", l.log); Ok(()) }).unwrap() }
        _ => {}
    }
}
