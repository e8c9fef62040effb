//! COMMAND GETKEYS and GETKEYSANDFLAGS: the keys among a command's arguments.

use super::key_specs;
use crate::commands::context::SessionContext;
use crate::commands::numbering;
use crate::commands::spec::{CommandSpec, Keys, Run};
use protocol::{Reply, Request};

pub(super) fn getkeys(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    match find(args) {
        Ok((_, request, positions)) => {
            let keys = positions.into_iter().map(|at| Reply::Bulk(request.bytes(at)));
            Reply::Array(keys.collect())
        }
        Err(refused) => refused,
    }
}

pub(super) fn getkeysandflags(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    let (spec, request, positions) = match find(args) {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let specs = key_specs::of(spec);
    let describe = |(nth, at): (usize, usize)| {
        let key_spec = specs.get(nth.min(specs.len().saturating_sub(1)));
        let flags = key_spec.map_or(&[][..], |key_spec| key_spec.flags_in(&request));
        let flags = flags.iter().map(|flag| Reply::simple(flag)).collect();
        Reply::Array(vec![Reply::Bulk(request.bytes(at)), Reply::Set(flags)])
    };
    Reply::Array(positions.into_iter().enumerate().map(describe).collect())
}

/// The command that the arguments name, its request, and the positions of its keys.
fn find(args: &Request) -> Result<(&'static CommandSpec, Request, Vec<usize>), Reply> {
    let parts: Vec<&[u8]> = args.iter().skip(2).collect();
    let request = Request::from_parts(&parts);
    let spec = numbering::resolve(&request);
    // What has subcommands is itself only named by a request without one.
    let is_unknown = |spec: &CommandSpec| !spec.subcommands.is_empty() && request.len() > 1;
    let spec = spec.filter(|spec| !matches!(spec.run, Run::Container) && !is_unknown(spec));
    let spec = spec.ok_or_else(|| Reply::error("ERR Invalid command specified"))?;
    if matches!(spec.keys, Keys::None) {
        return Err(Reply::error("ERR The command has no key arguments"));
    }
    if !spec.arity.accepts(request.len()) {
        return Err(Reply::error("ERR Invalid number of arguments specified for command"));
    }
    let mut positions = Vec::new();
    spec.keys.positions(&request, |at| positions.push(at));
    if positions.is_empty() {
        return Err(Reply::error("ERR Invalid arguments specified for command"));
    }
    Ok((spec, request, positions))
}
