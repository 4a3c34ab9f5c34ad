//! Paths and queries as text: taken apart once, with bounds, and put together again.
//! Always: a segment is decoded after the path was cut, so that no encoding of a slash or a dot
//! makes another path of it; names of a path are never names of files.

/// Most segments of a path.
const SEGMENTS_MAX: usize = 8;
/// Most fields of a query.
const FIELDS_MAX: usize = 16;
/// Longest name in a path or value in a query, decoded.
const VALUE_BYTES_MAX: usize = 256;

/// The decoded segments of a path that begins with a slash; `None` when it makes no sense.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let inside = path.strip_prefix('/')?;
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let segments: Vec<&str> = inside.split('/').take(SEGMENTS_MAX + 1).collect();
    if segments.len() > SEGMENTS_MAX {
        return None;
    }
    segments.into_iter().map(|segment| decode(segment).filter(|name| !name.is_empty())).collect()
}

/// The decoded fields of a query.
pub(super) fn fields(query: &str) -> Option<Vec<(String, String)>> {
    if query.is_empty() {
        return Some(Vec::new());
    }
    let parts: Vec<&str> = query.split('&').take(FIELDS_MAX + 1).collect();
    if parts.len() > FIELDS_MAX {
        return None;
    }
    let field = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, "true"));
        Some((decode(name)?, decode(&value.replace('+', " "))?))
    };
    parts.into_iter().map(field).collect()
}

/// Text with its escapes undone: printable, and no longer than the bound.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).ok()?;
    let plain = text.len() <= VALUE_BYTES_MAX && !text.chars().any(char::is_control);
    plain.then_some(text)
}

/// A name as a segment of a path.
pub(super) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_comes_back() {
        for name in ["db", "a b", "../etc", "ä/ö", "100%", "-"] {
            let path = format!("/v1/{}", escape(name));
            assert_eq!(segments(&path).unwrap(), ["v1", name]);
        }
    }

    #[test]
    fn tricks_make_no_sense_or_no_other_path() {
        for bad in ["", "v1", "//", "/v1//status", "/v1/", "/%", "/%zz", "/%ff", "/%00", "/%0d%0a"]
        {
            assert_eq!(segments(bad), None, "{bad}");
        }
        assert_eq!(segments("/a/b/c/d/e/f/g/h/i"), None);
        assert_eq!(segments(&format!("/{}", "x".repeat(257))), None);
        assert_eq!(segments("/v1/..%2fstatus").unwrap(), ["v1", "../status"]);
        assert_eq!(segments("/v1/../x").unwrap(), ["v1", "..", "x"]);
        assert_eq!(
            fields("a=1&b").unwrap(),
            [("a".into(), "1".into()), ("b".into(), "true".into())]
        );
        assert_eq!(fields(&"a&".repeat(20)), None);
    }
}
