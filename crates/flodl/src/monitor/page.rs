//! The page of a run: one HTML text with its curves as SVG, without scripts.

use super::{State, human, names, number};

const COLOURS: [&str; 6] = ["#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2"];

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The curve of one number.
fn chart(name: &str, points: &[(usize, f64)], colour: &str) -> String {
    let (w, h) = (360.0, 160.0);
    let finite: Vec<(usize, f64)> = points.iter().copied().filter(|p| p.1.is_finite()).collect();
    let (Some(first), Some(last)) = (finite.first(), finite.last()) else { return String::new() };
    let low = finite.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = finite.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let width = last.0.saturating_sub(first.0).max(1) as f64;
    let place = |&(e, v): &(usize, f64)| {
        let x = 10.0 + (w - 20.0) * (e - first.0) as f64 / width;
        format!("{x:.1},{:.1}", 20.0 + (h - 40.0) * (high - v) / span)
    };
    let line: Vec<String> = finite.iter().map(place).collect();
    let dots: String = line
        .iter()
        .zip(&finite)
        .filter_map(|(at, p)| {
            let (x, y) = at.split_once(',')?;
            let title = format!("epoch {}: {}", p.0 + 1, number(p.1));
            Some(format!(
                "<circle cx='{x}' cy='{y}' r='2.5' fill='{colour}'><title>{title}</title></circle>"
            ))
        })
        .collect();
    format!(
        "<figure><figcaption><b>{}</b> {}</figcaption><svg viewBox='0 0 {w} {h}'>\
         <text x='10' y='12'>{}</text><text x='10' y='{}'>{}</text>\
         <polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/>{dots}</svg></figure>",
        escape(name),
        number(last.1),
        number(high),
        h - 4.0,
        number(low),
        line.join(" "),
    )
}

/// The page; a live one loads itself anew.
pub(super) fn render(state: &State, live: bool) -> String {
    let title = escape(state.title.as_deref().unwrap_or("floDl run"));
    let refresh =
        if live && !state.finished { "<meta http-equiv='refresh' content='2'>" } else { "" };
    let (back, front, edge) = match state.theme.as_str() {
        "dark" => ("#111827", "#e5e7eb", "#374151"),
        _ => ("#ffffff", "#111827", "#d1d5db"),
    };
    let names = names(&state.history);
    let charts: String = names
        .iter()
        .zip(COLOURS.iter().cycle())
        .map(|(name, colour)| {
            let points: Vec<(usize, f64)> =
                state.history.iter().filter_map(|r| Some((r.epoch, r.get(name)?))).collect();
            chart(name, &points, colour)
        })
        .collect();
    let head: String = names.iter().map(|n| format!("<th>{}</th>", escape(n))).collect();
    let rows: String = state
        .history
        .iter()
        .rev()
        .map(|r| {
            let cells: String = names
                .iter()
                .map(|n| format!("<td>{}</td>", r.get(n).map_or(String::new(), number)))
                .collect();
            format!("<tr><td>{}</td>{cells}<td>{}</td></tr>", r.epoch + 1, human(r.duration))
        })
        .collect();
    let facts: String = [
        ("structure", state.hash.clone()),
        ("hardware", state.hardware.clone()),
        ("settings", state.metadata.as_ref().map(ToString::to_string)),
    ]
    .into_iter()
    .filter_map(|(n, v)| Some(format!("<p>{n}: <code>{}</code></p>", escape(&v?))))
    .collect();
    // As an image a picture can run no script.
    let picture = state.svg.as_ref().map_or(String::new(), |svg| {
        let encoded: String = svg.bytes().map(|b| format!("%{b:02x}")).collect();
        format!("<img alt='the model' src='data:image/svg+xml,{encoded}'>")
    });
    format!(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>{refresh}<title>{title}</title>\
         <style>body{{font:14px sans-serif;margin:2em;background:{back};color:{front}}}\
         main{{display:flex;flex-wrap:wrap;gap:1em}}figure{{margin:0;width:360px}}\
         svg{{border:1px solid {edge};width:100%}}svg text{{font-size:11px;fill:{front}}}\
         td,th{{padding:2px 10px;text-align:right;border-bottom:1px solid {edge}}}\
         img{{max-width:100%}}</style></head>\
         <body><h1>{title}</h1><p>epoch {} of {}{}</p>{facts}<main>{charts}</main>\
         <table><tr><th>epoch</th>{head}<th>time</th></tr>{rows}</table>{picture}</body></html>\n",
        state.history.len(),
        state.total,
        if state.finished { ", finished" } else { "" },
    )
}
