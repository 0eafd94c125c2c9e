//! Columns as `printf` of Java aligns them: each cell as wide as told, or as it is; the last one is not filled.

/// A line of cells with one blank between them.
pub fn line<S: AsRef<str>>(cells: &[S], widths: &[usize]) -> String {
    let mut text = String::new();
    for (at, cell) in cells.iter().enumerate() {
        let (cell, width) = (cell.as_ref(), widths.get(at).copied().unwrap_or(0));
        if at > 0 {
            text.push(' ');
        }
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
    }
    text
}

/// Rows whose cells are as wide as their column's widest, each with a tab behind it.
pub fn tabbed<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: Vec<_> = (0..N).map(|at| width(0, rows.iter().map(|row| row[at].as_str()))).collect();
    let filled =
        |row: &[String; N]| row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}\t")).collect();
    rows.iter().map(filled).collect()
}

/// The widest of some texts, and at least `least`.
pub fn width<'a>(least: usize, texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_filled() {
        assert_eq!(line(&["a", "bcd", "e"], &[3, 2]), "a   bcd e");
        assert_eq!(line(&["ü", ""], &[2, 3]), "ü     ");
        assert_eq!(width(3, ["a", "abcd"].into_iter()), 4);
    }
}
