//! Each expectation was taken from Go's text/template with Docker's functions.

use super::{Format, Label, Listing, Template};
use cais_json::{Value, json};

fn data() -> Value {
    json!({
        "Name": "/web", "Id": "0123456789abcdef", "Size": 1536, "Rate": 0.5, "On": true, "Off": false, "Nothing": null,
        "State": { "Status": "running", "Pid": 42, "Health": null },
        "Config": { "Env": ["A=1", "B=2"], "Labels": { "a": "x", "b.c": "<y>" }, "Cmd": [] },
        "Mounts": [ { "Source": "/a", "RW": true }, { "Source": "/b", "RW": false } ],
    })
}

fn render(text: &str) -> String {
    match Template::parse(text).and_then(|template| template.render(&data())) {
        Ok(text) => text,
        Err(error) => format!("error: {error}"),
    }
}

fn expect(cases: &[(&str, &str)]) {
    for (template, want) in cases {
        assert_eq!(render(template), *want, "{template}");
    }
}

#[test]
fn fields_and_control() {
    expect(&[
        ("", ""),
        ("plain", "plain"),
        ("{{.Name}}", "/web"),
        ("{{ .State.Status }} {{.State.Pid}}", "running 42"),
        ("{{json .Config.Labels}}", r#"{"a":"x","b.c":"\u003cy\u003e"}"#),
        ("{{.Config.Labels}}", "map[a:x b.c:<y>]"),
        ("{{index .Config.Labels \"b.c\"}}", "<y>"),
        ("[{{index .Config.Labels \"none\"}}]", "[]"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=2;"),
        (
            "{{range $i, $e := .Config.Env}}{{$i}}={{$e}} {{end}}",
            "0=A=1 1=B=2 ",
        ),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}},{{end}}",
            "a:x,b.c:<y>,",
        ),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{range .Mounts}}{{if .RW}}{{.Source}}{{end}}{{end}}", "/a"),
        (
            "{{range .Mounts}}{{if not .RW}}{{continue}}{{end}}{{.Source}}{{end}}",
            "/a",
        ),
        ("{{range .Mounts}}{{.Source}}{{break}}{{end}}", "/a"),
        ("{{if .State.Health}}h{{else}}none{{end}}", "none"),
        ("{{if eq .State.Status \"exited\" \"running\"}}yes{{end}}", "yes"),
        (
            "{{if and .On (gt .Size 1000)}}big{{else if .Off}}off{{else}}small{{end}}",
            "big",
        ),
        ("{{if .Off}}a{{else if .On}}b{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{end}}", "42"),
        ("{{with .Nothing}}x{{else}}y{{end}}", "y"),
        (
            "{{$n := .Name}}{{range .Config.Env}}{{$n}}{{$.Id | len}} {{end}}",
            "/web16 /web16 ",
        ),
        ("{{$x := 1}}{{if .On}}{{$x = 2}}{{end}}{{$x}}", "2"),
    ]);
}

#[test]
fn functions_and_literals() {
    expect(&[
        ("{{.Name | upper | printf \"%-6s|\"}}", "/WEB  |"),
        (
            "{{printf \"%d %s %q %v %5.1f %t %x\" .Size .Name .Name .Config.Env .Rate .On 255}}",
            "1536 /web \"/web\" [A=1 B=2]   0.5 true ff",
        ),
        ("{{printf \"%d\" .Name}}", "%!d(string=/web)"),
        ("{{printf \"%s\"}}", "%!s(MISSING)"),
        ("{{printf \"a\" 1}}", "a%!(EXTRA int=1)"),
        ("{{join .Config.Env \",\"}}", "A=1,B=2"),
        ("{{index (split \"a:b:c\" \":\") 1}}", "b"),
        (
            "{{lower \"ABC\"}}{{title \"abc def\"}}{{pad \"x\" 1 2}}|{{truncate .Id 4}}",
            "abcAbc Def x  |0123",
        ),
        ("{{slice .Id 0 6}}", "012345"),
        ("{{len .Config.Env}} {{len .Name}}", "2 4"),
        ("{{println .Name 1}}", "/web 1\n"),
        ("{{print 1 2 \"a\" \"b\"}}", "1 2ab"),
        ("a {{- .Name -}} b", "a/webb"),
        ("a{{/* nothing */}}b", "ab"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{.Nothing}}", "<no value>"),
        (
            "{{true}} {{1.5}} {{'a'}} {{`raw`}} {{0x10}} {{-3}}",
            "true 1.5 97 raw 16 -3",
        ),
        (
            "{{or .Off .Name}} {{and .Off .Name}} {{not .Off}}",
            "/web false true",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{ne \"a\" \"b\"}} {{ge 1.5 2}}",
            "true true true false",
        ),
        ("{{html \"<a>\"}}", "&lt;a&gt;"),
    ]);
}

#[test]
fn mistakes_are_named() {
    for (template, part) in [
        ("{{.Name", "unclosed action"),
        ("{{.None}}", "map has no entry for key \"None\""),
        ("{{.Name.x}}", "can't evaluate field x in type string"),
        ("{{nothing .Name}}", "function \"nothing\" not defined"),
        ("{{if .On}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{}}", "missing value for command"),
        ("{{.Name | }}", "missing value for command"),
        ("{{\"a}}", "unterminated quoted string"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{1 2}}", "non executable command"),
        ("{{(.Name}}", "unclosed left paren"),
        ("\n\n{{.None}}", ":3:"),
        ("{{break}}", "outside {{range}}"),
        ("{{template \"a\"}}", "not supported"),
        ("{{len 3}}", "len of type int"),
        ("{{index .Config.Env 9}}", "out of range"),
        ("{{eq 1 \"a\"}}", "incompatible types"),
        ("{{.Name \"x\"}}", "cannot be invoked"),
        ("{{/* a }}", "unclosed comment"),
    ] {
        let text = render(template);
        assert!(
            text.starts_with("error: ") && text.contains(part),
            "{template}: {text}"
        );
    }
    let deep = "{{(".to_owned() + &"(".repeat(5000) + "1" + &")".repeat(5001) + "}}";
    assert!(render(&deep).contains("too deeply nested"));
    let deep = "{{if true}}".repeat(5000);
    assert!(render(&deep).contains("too deeply nested"));
}

/// Each expectation is what `docker inspect -f` of 20.10 says.
#[test]
fn what_is_empty_in_dockers_types() {
    let inspected = json!({
        "Id": "0123", "State": { "Status": "running" }, "Config": { "Volumes": null, "Entrypoint": null },
        "HostConfig": {
            "Binds": null, "NanoCpus": 5, "MemorySwappiness": null,
            "PortBindings": { "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] },
            "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 },
            "LogConfig": { "Type": "json-file", "Config": {} },
        },
    });
    for (template, want) in [
        ("{{.ID}} {{.HostConfig.NanoCPUs}}", "0123 5"),
        ("{{if .State.Health}}x{{else}}none{{end}}", "none"),
        ("{{.State.Health}} {{json .State.Health}}", "<nil> null"),
        ("{{.HostConfig.Binds}} {{json .HostConfig.Binds}}", "[] null"),
        (
            "{{len .HostConfig.Binds}}{{range .HostConfig.Binds}}x{{end}}",
            "0",
        ),
        ("{{join .HostConfig.Binds \",\"}}", ""),
        ("{{.HostConfig.MemorySwappiness}}", "<nil>"),
        ("{{.Config.Volumes}} {{.Config.Entrypoint}}", "map[] []"),
        (
            "{{.Config.StopTimeout}} {{.HostConfig.Init}} {{.SizeRw}}",
            "<nil> <nil> <nil>",
        ),
        ("{{.HostConfig.Tmpfs}} {{.HostConfig.Mounts}}", "map[] []"),
        ("{{.Config.NetworkDisabled}}{{.Config.MacAddress}}", "false"),
        ("{{.HostConfig.PortBindings}}", "map[80/tcp:[{ 8080}]]"),
        ("{{.HostConfig.RestartPolicy}}", "{on-failure 2}"),
        ("{{.HostConfig.LogConfig}}", "{json-file map[]}"),
    ] {
        let rendered = Template::parse(template).and_then(|template| template.render(&inspected));
        assert_eq!(rendered.unwrap(), want, "{template}");
    }
    for template in ["{{.id}}", "{{.State.Health.Status}}", "{{.Config.Health}}"] {
        let rendered = Template::parse(template).and_then(|template| template.render(&inspected));
        assert!(rendered.is_err(), "{template}");
    }
}

#[test]
fn lists() {
    let rows = [
        json!({ "ID": "1", "Names": "web", "Labels": "a=b", (Label::KEY): { "a": "b" } }),
        json!({ "ID": "22", "Names": "a-longer-name", "Labels": "", (Label::KEY): {} }),
    ];
    let shown = |format: Option<&str>| {
        Format::parse(format, "{{.ID}}\t{{.Names}}")
            .and_then(|format| format.render(rows.to_vec(), &[("ID", "CONTAINER ID")]))
            .unwrap()
    };
    let table = "CONTAINER ID   NAMES\n1              web\n22             a-longer-name\n";
    assert_eq!(shown(None), table);
    assert_eq!(shown(Some("table")), table);
    assert_eq!(
        shown(Some("table {{.Names}}\\t{{.Label \"a\"}}")),
        "NAMES           a\nweb             b\na-longer-name   \n"
    );
    assert_eq!(shown(Some("{{.ID}}:{{.Label \"a\"}}")), "1:b\n22:\n");
    assert_eq!(
        shown(Some("json")).lines().next(),
        Some(r#"{"ID":"1","Labels":"a=b","Names":"web"}"#)
    );
    let format = Format::parse(Some("{{.Size}}"), "").unwrap();
    assert!(format.uses("Size") && !format.uses("ID"));
}

#[test]
fn quiet_raw_and_empty_formats() {
    let rows = [
        json!({ "ID": "1", "Name": "web", "Ports": "" }),
        json!({ "ID": "2", "Name": "db", "Ports": "80" }),
    ];
    let listing = Listing {
        table: "{{.ID}}\t{{.Name}}",
        id: "ID",
        raw: &[("id", "ID"), ("name", "Name"), ("ports", "Ports")],
    };
    for (format, quiet, want) in [
        (None, false, "ID        NAME\n1         web\n2         db\n"),
        (Some(""), false, "ID        NAME\n1         web\n2         db\n"),
        (Some("table"), true, "1\n2\n"),
        (Some(""), true, "1\n2\n"),
        (Some("{{.Name}}"), true, "web\ndb\n"),
        (
            Some("raw"),
            false,
            "id: 1\nname: web\nports:\n\nid: 2\nname: db\nports: 80\n\n",
        ),
        (Some("raw"), true, "id: 1\nid: 2\n"),
    ] {
        let format = Format::of_list(format, quiet, &listing).unwrap();
        assert_eq!(format.render(rows.to_vec(), &[]).unwrap(), want);
    }
}
