//! COMMAND LIST: names of commands, all or some.

use crate::commands::categories::acl_categories;
use crate::commands::context::SessionContext;
use crate::commands::glob::Glob;
use crate::commands::numbering;
use crate::commands::words::{SYNTAX, is_word};
use protocol::{Reply, Request};

pub(super) fn list(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    let names = |wanted: &dyn Fn(usize) -> bool| {
        let numbers = (0..numbering::count()).filter(|number| wanted(*number));
        Reply::Array(numbers.map(|number| Reply::bulk(numbering::full_name(number))).collect())
    };
    if args.len() == 2 {
        return names(&|_| true);
    }
    if args.len() != 5 || !is_word(args.arg(2), "filterby") {
        return SYNTAX;
    }
    let (filter, value) = (args.arg(3), args.arg(4).to_ascii_lowercase());
    if is_word(filter, "pattern") {
        let glob = Glob::new(&value);
        names(&|number| glob.matches(numbering::full_name(number).as_bytes()))
    } else if is_word(filter, "aclcat") {
        let category = [b"@", &value[..]].concat();
        let is_of = |spec| acl_categories(spec).iter().any(|name| name.as_bytes() == category);
        names(&|number| is_of(numbering::spec(number)))
    } else if is_word(filter, "module") {
        names(&|_| false)
    } else {
        SYNTAX
    }
}
