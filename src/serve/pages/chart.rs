//! Charts as inline SVG: shapes only, since text within would shrink with them. What they show stands beside them
//! as text, and in a table.

use crate::record::minutes::MINUTES;
use maud::{Markup, html};
use std::fmt::Write;

/// A number for each minute of the last hour, the running one first.
pub(super) type ByMinute = [u64; MINUTES];

/// One part of stacked columns.
pub(super) struct Series {
    /// The class of its colour.
    pub(super) class: &'static str,
    /// What it is.
    pub(super) name: &'static str,
    /// How much of it there was.
    pub(super) minutes: ByMinute,
}

/// What a chart by minute is called, and what it counts.
pub(super) struct Titles<'t> {
    /// Its id in the page.
    pub(super) id: &'t str,
    /// What it shows.
    pub(super) title: &'t str,
    /// What is counted, in the plural.
    pub(super) what: &'t str,
}

/// Width of a column, gap included; the chart is stretched to the room that it has.
const COLUMN: usize = 10;
const HEIGHT: u64 = 1000;

/// Stacked columns for the last hour, with a legend and the same in numbers.
pub(super) fn by_minute(titles: &Titles<'_>, series: &[Series]) -> Markup {
    let Titles { id, title, what } = titles;
    let sums = stacked(series);
    let (peak, total) = (sums.iter().copied().max().unwrap_or(0), sums.iter().sum::<u64>());
    let top = round_up(peak);
    let (named, described) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        figure class="chart" {
            figcaption { (title) }
            @if total == 0 {
                p class="none" { "No " (what) " in the last hour." }
            } @else {
                div class="plot" {
                    p class="top" aria-hidden="true" { (grouped(top)) }
                    svg viewBox={ "0 0 " (COLUMN * MINUTES) " " (HEIGHT) } preserveAspectRatio="none"
                        role="img" aria-labelledby={ (named) " " (described) } {
                        title id=(named) { (title) }
                        desc id=(described) {
                            (grouped(total)) " " (what) " in the last 60 minutes, at most " (grouped(peak))
                            " in one minute."
                        }
                        path class="grid" d={ "M0 0H600M0 500H600M0 1000H600" } {}
                        @for (each, shape) in series.iter().zip(shapes(series, top)) {
                            path class=(each.class) d=(shape) {}
                        }
                    }
                    p class="times" aria-hidden="true" {
                        span { "60 min ago" } span { "30 min ago" } span { "now" }
                    }
                }
                ul class="legend" {
                    @for each in series {
                        li {
                            (swatch(each.class)) (each.name) ": " b { (grouped(each.minutes.iter().sum())) }
                        }
                    }
                }
                details {
                    summary { "By minute" }
                    (table(title, series, &sums))
                }
            }
        }
    }
}

fn table(title: &str, series: &[Series], sums: &ByMinute) -> Markup {
    super::layout::scrolling(
        title,
        &html! {
            table {
                caption { (title) ", minutes with none left out" }
                thead { tr {
                    th scope="col" class="number" { "Minutes ago" }
                    @for each in series { th scope="col" class="number" { (each.name) } }
                } }
                tbody {
                    @for (ago, _) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
                        tr {
                            th scope="row" class="number" { (ago) }
                            @for each in series {
                                td class="number" { (grouped(each.minutes.get(ago).copied().unwrap_or(0))) }
                            }
                        }
                    }
                }
            }
        },
    )
}

/// A small chart without words, to stand beside the number that it shows: columns of one kind.
pub(super) fn spark(class: &str, minutes: &ByMinute) -> Markup {
    let top = minutes.iter().copied().max().unwrap_or(0).max(1);
    let mut shape = String::new();
    for (ago, count) in minutes.iter().enumerate() {
        column(&mut shape, ago, 0, scaled(*count, top));
    }
    html! {
        svg class="spark" viewBox={ "0 0 " (COLUMN * MINUTES) " " (HEIGHT) } preserveAspectRatio="none"
            aria-hidden="true" { path class=(class) d=(shape) {} }
    }
}

/// A bar for one number among others, the greatest of which is `most`.
pub(super) fn bar(class: &str, count: u64, most: u64) -> Markup {
    html! {
        svg class="bar" viewBox={ "0 0 " (HEIGHT) " 10" } preserveAspectRatio="none" aria-hidden="true" {
            rect class=(class) width=(scaled(count, most.max(1))) height="10" {}
        }
    }
}

fn swatch(class: &str) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 10 10" aria-hidden="true" {
            rect class=(class) width="10" height="10" {}
        }
    }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

fn stacked(series: &[Series]) -> ByMinute {
    let mut sums = [0; MINUTES];
    for each in series {
        sums.iter_mut().zip(&each.minutes).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// The outline of each part: every column stands on those of the parts before it. A few among many are seen all the
/// same, so the sum may end a little too high, and what comes last gives way at the top.
fn shapes(series: &[Series], top: u64) -> Vec<String> {
    let mut below: ByMinute = [0; MINUTES];
    let shape = |each: &Series| {
        let mut shape = String::new();
        for (ago, (below, count)) in below.iter_mut().zip(&each.minutes).enumerate() {
            let from = *below;
            *below = from.saturating_add(scaled(*count, top)).min(HEIGHT);
            column(&mut shape, ago, from, *below);
        }
        shape
    };
    series.iter().map(shape).collect()
}

fn column(shape: &mut String, ago: usize, from: u64, to: u64) {
    if to > from {
        let x = COLUMN * (MINUTES - 1).saturating_sub(ago) + 1;
        let (y, height, width) = (HEIGHT - to, to - from, COLUMN - 2);
        // Writing to a text cannot fail.
        let _ = write!(shape, "M{x} {y}h{width}v{height}h-{width}z");
    }
}

/// Its share of the height; what is there at all is seen.
fn scaled(count: u64, top: u64) -> u64 {
    const LEAST: u64 = 8;
    if count == 0 {
        return 0;
    }
    let share = u128::from(count) * u128::from(HEIGHT) / u128::from(top.max(1));
    u64::try_from(share).unwrap_or(HEIGHT).clamp(LEAST, HEIGHT)
}

/// The next of 1, 2, 5, 10, 20, 50 …
fn round_up(number: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let top = step.saturating_mul(factor);
            if top >= number || top == u64::MAX {
                return top;
            }
        }
        step = step.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1\u{a0}000"),
            (12_345, "12\u{a0}345"),
            (1_234_567, "1\u{a0}234\u{a0}567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (peak, top) in [(0, 1), (1, 1), (3, 5), (6, 10), (10, 10), (11, 20), (201, 500)] {
            assert_eq!(round_up(peak), top);
        }
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn columns_stand_on_each_other_and_within_the_chart() {
        let series = |minutes| Series { class: "yes", name: "n", minutes };
        let (mut one, mut two) = ([0; MINUTES], [0; MINUTES]);
        (one[0], two[0], two[59]) = (1, 1, u64::MAX / 4);
        let shapes = shapes(&[series(one), series(two)], 2);
        assert_eq!(shapes[0], "M591 500h8v500h-8z");
        assert_eq!(shapes[1], "M591 0h8v500h-8zM1 0h8v1000h-8z");
    }

    #[test]
    fn what_is_there_at_all_is_seen() {
        assert_eq!((scaled(0, 1_000_000), scaled(1, 1_000_000), scaled(5, 5)), (0, 8, 1000));
    }
}
