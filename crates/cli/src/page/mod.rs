//! Pages that a person opens in a browser: each is one HTML file that needs no network, no script and no other file.

pub(crate) mod html;

const STYLE: &str = include_str!("style.css");
/// The page's Content-Security-Policy: no script runs and nothing is loaded, even if an escape were
/// forgotten.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page. The title is text that needs no escape; body and footer are HTML.
pub(crate) fn page(title: &str, body: &str, footer: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main>{footer}</body></html>\n",
    )
}
