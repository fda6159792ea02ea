//! Lists of URLs, as aria2 reads them.
//!
//! One file a line; URLs separated by tabs on one line are mirrors of the same file. Lines that begin with a space or
//! tab are options (`name=value`) of the file above. Blank lines and lines that begin with `#` are skipped.

/// One file to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The line its URLs stand on, from 1.
    pub(crate) line: usize,
    /// The URLs; never empty.
    pub(crate) urls: Vec<String>,
    /// `out=`
    pub(crate) out: Option<String>,
    /// `dir=`
    pub(crate) dir: Option<String>,
    /// `checksum=`
    pub(crate) checksum: Option<String>,
    /// `header=`, as often as wanted.
    pub(crate) headers: Vec<String>,
    /// `referer=`
    pub(crate) referer: Option<String>,
    /// `user-agent=`
    pub(crate) user_agent: Option<String>,
}

/// Reads a whole list. An error names the line.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let entry =
                entries.last_mut().ok_or_else(|| format!("line {number}: an option before the first URL"))?;
            entry.set(content).map_err(|why| format!("line {number}: {why}"))?;
        } else {
            let urls = content.split('\t').map(str::trim).filter(|url| !url.is_empty());
            entries.push(Entry { line: number, urls: urls.map(str::to_owned).collect(), ..Entry::default() });
        }
    }
    Ok(entries)
}

impl Entry {
    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) =
            option.split_once('=').ok_or("an indented line is an option, written name=value")?;
        let value = value.trim().to_owned();
        match name.trim() {
            "out" => self.out = Some(value),
            "dir" => self.dir = Some(value),
            "checksum" => self.checksum = Some(value),
            "header" => self.headers.push(value),
            "referer" => self.referer = Some(value),
            "user-agent" => self.user_agent = Some(value),
            other => {
                return Err(format!(
                    "unknown option \"{other}\" (out, dir, checksum, header, referer or user-agent)"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_in_aria2() {
        let text = "\u{feff}# a comment\r\n\r\nhttp://a/1\thttp://b/1\t\r\n  out=one\r\n\tdir=/tmp\n  # not this\n \
                    header=X: y=z\n header=W: v\n checksum=md5=00\n referer=r\n user-agent=u\nhttp://a/2\n";
        let one = Entry {
            line: 3,
            urls: vec!["http://a/1".into(), "http://b/1".into()],
            out: Some("one".into()),
            dir: Some("/tmp".into()),
            checksum: Some("md5=00".into()),
            headers: vec!["X: y=z".into(), "W: v".into()],
            referer: Some("r".into()),
            user_agent: Some("u".into()),
        };
        let two = Entry { line: 12, urls: vec!["http://a/2".into()], ..Entry::default() };
        assert_eq!(parse(text), Ok(vec![one, two]));
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text| parse(text).unwrap_err();
        assert!(error(" out=x\nhttp://a/1").starts_with("line 1: an option before"));
        assert!(error("http://a/1\n out").starts_with("line 2: an indented line is an option"));
        assert!(error("http://a/1\n\n split=5").starts_with("line 3: unknown option \"split\""));
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(parse("\n# only this\n"), Ok(Vec::new()));
    }
}
