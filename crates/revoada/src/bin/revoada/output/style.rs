//! Colour: a few words of a table, on a terminal only.

/// How a word stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// A heading.
    Bold,
    /// Less important.
    Dim,
}

/// `text` in `style`, if `colour` is wanted.
pub fn paint(text: &str, style: Style, colour: bool) -> String {
    let code = match style {
        Style::Plain => return text.to_owned(),
        Style::Good => 32,
        Style::Warn => 33,
        Style::Bad => 31,
        Style::Bold => 1,
        Style::Dim => 2,
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
