//! Tables for the terminal, in Markdown.

use crate::measure::Cost;

/// Prints one comparison: the first row is ours, and the ratios are each row's figure over ours.
pub(crate) fn costs(title: &str, rows: &[(String, Cost)]) {
    println!("\n### {title}\n");
    println!("| | wall s | cpu s | peak MiB | wall / ours | cpu / ours |");
    println!("|---|---|---|---|---|---|");
    let ours = rows.first().map(|row| row.1).unwrap_or_default();
    for (name, cost) in rows {
        let note = if cost.good { "" } else { " (FAILED)" };
        println!(
            "| {name}{note} | {:.3} | {:.3} | {:.1} | {:.2} | {:.2} |",
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.memory as f64 / f64::from(1 << 20),
            cost.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            cost.cpu.as_secs_f64() / ours.cpu.as_secs_f64(),
        );
    }
}

/// Prints one table of words.
pub(crate) fn words(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("\n### {title}\n");
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}
