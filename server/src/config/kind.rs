//! The types of settings: how text becomes a value and a value text, with Redis's error texts.

use super::values::{OutputLimit, OutputLimits, Values, split_address};

/// A setting's type, its bounds, and the field it sets.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A count or a duration.
    Integer {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
        /// Its field.
        field: fn(&mut Values) -> &mut u64,
    },
    /// A number that may be negative.
    Signed {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
        /// Its field.
        field: fn(&mut Values) -> &mut i64,
    },
    /// A number of bytes, with an optional unit.
    Memory {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
        /// Its field.
        field: fn(&mut Values) -> &mut u64,
    },
    /// `yes` or `no`.
    Boolean {
        /// Its field.
        field: fn(&mut Values) -> &mut bool,
    },
    /// Any text.
    Text {
        /// Its field.
        field: fn(&mut Values) -> &mut String,
    },
    /// `host:port`, or nothing where that has a meaning.
    Address {
        /// Whether it may be empty.
        optional: bool,
        /// Its field.
        field: fn(&mut Values) -> &mut String,
    },
    /// `host:port[,host:port...]`, or nothing.
    Addresses {
        /// Its field.
        field: fn(&mut Values) -> &mut String,
    },
    /// One of several words.
    Choice {
        /// The words.
        names: &'static [&'static str],
        /// The position of the current word.
        get: fn(&Values) -> usize,
        /// Sets the word at a position.
        set: fn(&mut Values, usize),
    },
    /// Redis's `class hard soft seconds` groups.
    OutputLimits,
    /// A name that tools read, whose one true value never changes.
    Fixed {
        /// The value.
        value: &'static str,
        /// Why no other value is possible.
        why: &'static str,
    },
    /// A name that tools read, computed from another setting.
    Derived {
        /// The value.
        show: fn(&Values) -> String,
        /// The setting to change instead.
        from: &'static str,
    },
}

impl Kind {
    /// Parses `text` into the field; on an error nothing is changed. The error is Redis's text.
    pub(super) fn parse(&self, values: &mut Values, text: &str) -> Result<(), String> {
        match *self {
            Kind::Integer { min, max, field } => {
                let number = parse_integer(text)?;
                *field(values) = between(number, i128::from(min), i128::from(max))? as u64;
            }
            Kind::Signed { min, max, field } => {
                let number = parse_integer(text)?;
                *field(values) = between(number, i128::from(min), i128::from(max))? as i64;
            }
            Kind::Memory { min, max, field } => {
                let bytes = parse_memory(text).ok_or("argument must be a memory value")?;
                *field(values) = between(i128::from(bytes), min.into(), max.into())? as u64;
            }
            Kind::Boolean { field } => *field(values) = parse_boolean(text)?,
            Kind::Text { field } => *field(values) = text.to_owned(),
            Kind::Address { optional, field } => {
                if !(optional && text.is_empty()) && split_address(text).is_none() {
                    return Err("argument must be an address HOST:PORT".to_owned());
                }
                *field(values) = text.to_owned();
            }
            Kind::Addresses { field } => {
                let mut addresses = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                if !addresses.all(|address| split_address(address).is_some()) {
                    return Err("argument must be addresses HOST:PORT[,HOST:PORT...]".to_owned());
                }
                *field(values) = text.to_owned();
            }
            Kind::Choice { names, set, .. } => {
                let position = names.iter().position(|name| name.eq_ignore_ascii_case(text));
                let one_of = "argument(s) must be one of the following: ";
                set(values, position.ok_or_else(|| format!("{one_of}{}", names.join(", ")))?);
            }
            Kind::OutputLimits => {
                values.client_output_limits = parse_limits(values.client_output_limits, text)?;
            }
            Kind::Fixed { value, why } => {
                if !value.eq_ignore_ascii_case(text) {
                    return Err(format!("only '{value}' is possible: {why}"));
                }
            }
            Kind::Derived { from, .. } => return Err(format!("follows from '{from}'")),
        }
        Ok(())
    }

    /// The value as CONFIG GET prints it.
    pub(super) fn show(&self, values: &Values) -> String {
        // The accessors want exclusive access; the copy is made for administrators only.
        let mut values = values.clone();
        match *self {
            Kind::Integer { field, .. } | Kind::Memory { field, .. } => {
                field(&mut values).to_string()
            }
            Kind::Signed { field, .. } => field(&mut values).to_string(),
            Kind::Boolean { field } => if *field(&mut values) { "yes" } else { "no" }.to_owned(),
            Kind::Text { field } | Kind::Address { field, .. } | Kind::Addresses { field } => {
                field(&mut values).clone()
            }
            Kind::Choice { names, get, .. } => names[get(&values)].to_owned(),
            Kind::OutputLimits => {
                let classes = values.client_output_limits.classes();
                let show = |(name, limit): (&str, OutputLimit)| {
                    let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
                    format!("{name} {hard_bytes} {soft_bytes} {soft_seconds}")
                };
                classes.map(show).join(" ")
            }
            Kind::Fixed { value, .. } => value.to_owned(),
            Kind::Derived { show, .. } => show(&values),
        }
    }

    /// What may be given, for people.
    pub(super) fn describe(&self) -> String {
        match *self {
            Kind::Integer { min, max, .. } => format!("{min} to {max}"),
            Kind::Signed { min, max, .. } => format!("{min} to {max}"),
            Kind::Memory { min, max, .. } => {
                format!("{} to {}", show_memory(min), show_memory(max))
            }
            Kind::Boolean { .. } => "yes or no".to_owned(),
            Kind::Text { .. } => "text".to_owned(),
            Kind::Address { optional: true, .. } => "HOST:PORT or nothing".to_owned(),
            Kind::Address { optional: false, .. } => "HOST:PORT".to_owned(),
            Kind::Addresses { .. } => "HOST:PORT[,HOST:PORT...] or nothing".to_owned(),
            Kind::Choice { names, .. } => names.join(", "),
            Kind::OutputLimits => "groups of: class hard soft seconds".to_owned(),
            Kind::Fixed { value, why } => format!("always '{value}': {why}"),
            Kind::Derived { from, .. } => format!("follows from '{from}'"),
        }
    }
}

const NOT_AN_INTEGER: &str = "argument couldn't be parsed into an integer";

/// Reads a number of 64 bits, written as Redis writes it: no plus, no space, no leading zero.
fn parse_integer(text: &str) -> Result<i128, String> {
    let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    number.map(i128::from).ok_or_else(|| NOT_AN_INTEGER.to_owned())
}

fn between(number: i128, min: i128, max: i128) -> Result<i128, String> {
    if (min..=max).contains(&number) {
        return Ok(number);
    }
    Err(format!("argument must be between {min} and {max} inclusive"))
}

fn parse_boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

/// Parses a number of bytes with a unit of Redis's: `k` is 1000, `kb` is 1024, and so on.
pub fn parse_memory(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Prints a number of bytes with the largest unit that divides it.
pub fn show_memory(bytes: u64) -> String {
    let units = [("gb", 30), ("mb", 20), ("kb", 10)];
    let unit = units.iter().find(|(_, bits)| bytes != 0 && bytes.trailing_zeros() >= *bits);
    unit.map_or(bytes.to_string(), |(name, bits)| format!("{}{name}", bytes >> bits))
}

/// Applies groups of `class hard soft seconds` to `limits`.
fn parse_limits(mut limits: OutputLimits, text: &str) -> Result<OutputLimits, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => {
                return Err("Invalid client class specified in buffer limit configuration.".into());
            }
        };
        let numbers = (parse_memory(group[1]), parse_memory(group[2]), group[3].parse().ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) = numbers else {
            let what = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            return Err(what.to_owned());
        };
        *class = OutputLimit { hard_bytes, soft_bytes, soft_seconds };
    }
    Ok(limits)
}
