//! How pages look: by day and by night, on a desk and in a hand, with a keyboard alone.

use crate::chromium::Tab;

/// A desk's window and a phone's, in CSS pixels.
pub(crate) const DESK: (u32, u32) = (1280, 800);
pub(crate) const PHONE: (u32, u32) = (390, 844);

/// What goes beyond the window's edge, unless it lies in a part that scrolls by itself.
const TOO_WIDE: &str = "(() => {
    const width = document.documentElement.clientWidth;
    const scrolls = (node) => node && (node !== document.documentElement && node !== document.body)
        && (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
    const wide = [...document.querySelectorAll('body *')].filter(node => node.getBoundingClientRect().right > width + 1
        && !scrolls(node.parentElement) && !scrolls(node) && node.checkVisibility());
    const page = document.documentElement.scrollWidth > width ? ['the page: ' + document.documentElement.scrollWidth] : [];
    return page.concat(wide.slice(0, 5).map(node => node.outerHTML.slice(0, 200)));
})()";

/// Forms that open in their place and then reach beyond the window's edge.
const OPENS_TOO_WIDE: &str =
    "(() => { const found = [...document.querySelectorAll('details.opens')].filter(node => node.checkVisibility())
    .slice(0, 20).flatMap(node => {
        const wasOpen = node.open; node.open = true; node.scrollIntoView({block: 'nearest'});
        const box = node.querySelector('.pop').getBoundingClientRect(); node.open = wasOpen;
        return box.left >= 0 && box.right <= document.documentElement.clientWidth + 1 ? []
            : [node.querySelector('summary').innerText + ': from ' + box.left + ' to ' + box.right]; });
    scrollTo(0, 0); return found; })()";

/// Headings of tables that do not stand over their columns.
const MISALIGNED: &str = "[...document.querySelectorAll('table')].filter(table => table.checkVisibility()).flatMap(table => {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])], cells = [...(table.tBodies[0]?.rows[0]?.cells ?? [])];
    if (heads.length !== cells.length || getComputedStyle(table.tHead).position === 'absolute') return [];
    return heads.filter((head, at) => Math.abs(head.getBoundingClientRect().left - cells[at].getBoundingClientRect().left) > 1)
        .map(head => head.innerText); })";

/// Texts with too little contrast to their ground (WCAG AA: 4.5, or 3 where the text is large).
const TOO_PALE: &str = r"(() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
    const over = (top, ground) => top.slice(0, 3).map((value, at) => value * top[3] + ground[at] * (1 - top[3]));
    const ground = (node) => { if (!node) return rgba(getComputedStyle(document.documentElement).backgroundColor);
        const own = rgba(getComputedStyle(node).backgroundColor);
        return own[3] === 1 ? own : over(own, ground(node.parentElement)); };
    const light = (colour) => { const part = (value) => { value /= 255; return value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4; };
        return .2126 * part(colour[0]) + .7152 * part(colour[1]) + .0722 * part(colour[2]); };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        if (node.closest('svg, .sr, .skip, script, :disabled, option')) continue;
        const style = getComputedStyle(node), below = ground(node), text = over(rgba(style.color), below);
        const [a, b] = [light(text), light(below)].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const contrast = (a + .05) / (b + .05);
        if (contrast < (isLarge ? 3 : 4.5)) found.push(contrast.toFixed(2) + ': ' + walker.currentNode.data.trim().slice(0, 60));
    }
    return [...new Set(found)].slice(0, 8);
})()";

/// Controls and links without a name, images without words, fields of forms without a label, ids that stand twice, a page
/// without a heading or a language.
const NAMELESS: &str = "(() => {
    const name = (node) => (node.getAttribute('aria-label') || node.innerText || node.labels?.[0]?.innerText || node.title
        || document.getElementById(node.getAttribute('aria-labelledby'))?.innerText || node.textContent || '').trim();
    const controls = [...document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), select, textarea, [role=img], svg:not([aria-hidden])')];
    const found = controls.filter(node => !name(node) && !node.closest('[aria-hidden=true]') && node.checkVisibility())
        .map(node => 'no name: ' + node.outerHTML.slice(0, 120));
    const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
    found.push(...ids.filter((id, at) => ids.indexOf(id) !== at).map(id => 'twice: #' + id));
    if (document.querySelectorAll('h1').length !== 1) found.push(document.querySelectorAll('h1').length + ' headings of the page');
    if (!document.documentElement.lang || !document.title) found.push('no language or title');
    found.push(...[...document.querySelectorAll('table')].filter(table => table.checkVisibility() && !table.querySelector('th')).map(() => 'a table without headings'));
    return found;
})()";

/// What somebody could press or fill in, as the order of the keyboard should have it.
const REACHABLE: &str =
    "[...document.querySelectorAll('a[href], button, summary, input:not([type=hidden]), select, textarea')]
    .filter(node => !node.disabled && node.checkVisibility() && node.tabIndex >= 0).length";

/// What is wrong with a page in a window of this size, in this light.
#[track_caller]
pub(crate) fn flaws(tab: &Tab, (width, height): (u32, u32), light: &str) -> Vec<String> {
    tab.size(width, height);
    tab.lit(light);
    // Styles and drawings follow with the next frames.
    tab.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))");
    let page = format!("{} at {width} px, {light}", tab.eval("location.pathname"));
    let looks = [
        ("too wide", TOO_WIDE),
        ("opens too wide", OPENS_TOO_WIDE),
        ("misaligned", MISALIGNED),
        ("too pale", TOO_PALE),
        ("nameless", NAMELESS),
    ];
    let found = looks.map(|(what, look)| {
        let found: Vec<String> = serde_json::from_value(tab.eval(look)).unwrap();
        found.into_iter().map(|flaw| format!("{page}: {what}: {flaw}")).collect::<Vec<_>>()
    });
    [found.concat(), tab.complaints()].concat()
}

/// Walks through a page with the tab key: everything is reached, and it can be seen where one is.
#[track_caller]
pub(crate) fn is_reachable_by_keyboard(tab: &Tab) {
    // While one walks, the page is left as it is: what is counted must be what is reached.
    tab.eval("document.activeElement.blur(); scrollTo(0, 0)");
    let count = tab.eval(REACHABLE).as_u64().expect("a number");
    assert!(count > 5, "{count}");
    let look = "(() => { const node = document.activeElement; if (!node || node === document.body) return null;
        window.reached ??= new Set(); window.reached.add(node);
        const style = getComputedStyle(node), box = node.getBoundingClientRect();
        return {shown: style.outlineStyle !== 'none' || style.boxShadow !== 'none', seen: box.bottom > 0 && box.top < innerHeight, what: node.outerHTML.slice(0, 120)}; })()";
    tab.eval("window.reached = new Set()");
    // Some more than counted: rows may come while one walks. Pages with long tables are walked for a while.
    for _ in 0..(count + 10).min(80) {
        tab.press("Tab");
        let at = tab.eval(look);
        if at.is_null() {
            break;
        }
        assert_eq!((&at["shown"], &at["seen"]), (&true.into(), &true.into()), "{at}");
    }
    let reached = tab.eval("window.reached.size").as_u64().expect("a number");
    assert!(reached >= count.min(75).saturating_sub(3), "{reached} of {count} reached");
}
