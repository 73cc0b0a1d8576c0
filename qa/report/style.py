"""The look of the report, light, dark and printed, and the few lines of script that show and hide what single people drew."""

from __future__ import annotations

from qa.report.inks import COLOURS

_INKS = "".join(f".ink{at}{{--ink:{colour}}}" for at, colour in enumerate(COLOURS))

STYLE = (
    """
:root{color-scheme:light dark;--page:#fff;--card:#f6f7f9;--text:#1b1f24;--soft:#57606a;--edge:#d0d7de;--link:#0550ae;
--b0:#a63603;--b1:#e6853d;--b2:#f5d5a9;--b3:#a6cdea;--b4:#1f5f99;--t0:#fff;--t1:#1b1f24;--t2:#1b1f24;--t3:#1b1f24;--t4:#fff;
--bar:#2f6fad}
@media (prefers-color-scheme:dark){:root{--page:#14171b;--card:#1d2127;--text:#e6e9ed;--soft:#a2abb5;--edge:#3a414a;
--link:#79b8ff;--b0:#d9622b;--b1:#a8571b;--b2:#5d4a2e;--b3:#2c4e6e;--b4:#6db3f2;--t0:#14171b;--t1:#fff;--t2:#fff;--t3:#fff;
--t4:#14171b;--bar:#6aa9e0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:0 1rem 3rem;background:var(--page);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{margin:1.2rem 0 .2rem;line-height:1.2}h2{margin:2.2rem 0 .6rem;border-bottom:1px solid var(--edge)}
h3{margin:1.6rem 0 .4rem}h4{margin:1.2rem 0 .3rem}
a{color:var(--link)}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-99rem}.skip:focus{position:static}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
nav ul,.legend,.passages,.facts{list-style:none;margin:.4rem 0;padding:0}
nav ul,.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem}
.note,.why,.soft{color:var(--soft)}.note{font-size:.9rem;margin:.3rem 0}
.headline{background:var(--card);border:1px solid var(--edge);border-radius:.5rem;padding:.9rem 1.1rem;margin:1rem 0}
.headline .value{font-size:2.6rem;font-weight:700;line-height:1.1}
.alarm{border-left:4px solid var(--b0);padding-left:.7rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.6rem}
.facts b{display:block;font-size:1.25rem}
.wide{overflow-x:auto;margin:.5rem 0;position:relative}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.9rem;padding:.2rem 0}
th,td{padding:.28rem .6rem;border:1px solid var(--edge);text-align:left;vertical-align:top;overflow-wrap:normal}
thead th{background:var(--card)}tbody th{font-weight:600}
table .why{font-weight:400;font-size:.9rem}
.numbers td{white-space:nowrap}.named{unicode-bidi:isolate}
.numbers td:has(.why){white-space:normal;min-width:14rem}
.matrix th,.matrix td{text-align:center;padding:.2rem .35rem;white-space:nowrap}.matrix small{display:block;font-size:.72rem}
.matrix .self{background:var(--card)}.matrix .none{color:var(--soft)}
.matrix tbody th{position:sticky;left:0;background:var(--card)}
.swatch{display:inline-block;width:1.6rem;height:1rem;vertical-align:-.15rem;margin-right:.35rem;border:1px solid var(--edge)}
.matrix .few,.swatch.few{border:2px dashed var(--text)}
.band0{background:var(--b0);color:var(--t0)}.band1{background:var(--b1);color:var(--t1)}
.band2{background:var(--b2);color:var(--t2)}.band3{background:var(--b3);color:var(--t3)}
.band4{background:var(--b4);color:var(--t4)}
.bar{width:10rem;height:.8rem;display:block}.track{fill:var(--card);stroke:var(--edge);stroke-width:.4}
.bar .filled{fill:var(--bar)}
.trend{font-size:11px;max-width:none}.trend text,.tracks text{fill:var(--text)}.trend .grid{stroke:var(--edge)}
.trend .line{fill:none;stroke:var(--bar);stroke-width:2.5}.trend .dot{fill:var(--bar);stroke:var(--page);stroke-width:1.5}
.trend .n{fill:var(--soft)}.trend .value{font-weight:700;paint-order:stroke;stroke:var(--page);stroke-width:3px}
article{border:1px solid var(--edge);border-radius:.5rem;padding:.2rem 1rem 1rem;margin:1rem 0}
figure{margin:.6rem 0}
.drawing{display:block;width:100%;max-width:56rem;max-height:44rem;height:auto;background:#808080}
.canvas{fill:#9aa0a6}
.drawn{fill:none;stroke:var(--ink);stroke-width:2.5;vector-effect:non-scaling-stroke}
.mask{fill:var(--ink);fill-opacity:.22;fill-rule:evenodd}.tracks .drawn{fill:var(--ink);fill-opacity:.25}
.halo{fill:none;stroke:#fff;stroke-opacity:.8;stroke-width:5;vector-effect:non-scaling-stroke}
.drawing .region text{fill:var(--ink);paint-order:stroke;stroke:#fff;stroke-width:.22em;stroke-linejoin:round;font-weight:700}
.sample{vertical-align:middle}.sample .drawn{stroke-width:3}
.passages li{margin:.7rem 0;border-left:3px solid var(--edge);padding-left:.8rem}
.passage{margin:.1rem 0;line-height:2;white-space:pre-wrap}.who{font-size:.9rem}
.passage mark{background:none;color:inherit}
.passage mark>span{text-decoration:underline 2.5px var(--ink);text-underline-offset:.25em;
background:color-mix(in srgb,var(--ink) 14%,transparent)}
.passage .deep>span{background:color-mix(in srgb,var(--ink) 34%,transparent)}
.passage .label{font-size:.7rem;border:1px solid var(--ink);border-radius:.3rem;padding:0 .25rem;margin:0 .2rem 0 0;
vertical-align:.15em;white-space:nowrap}
.asked{margin:.4rem 0;padding:.3rem .8rem;border-left:3px solid var(--edge);white-space:pre-wrap}
.message{white-space:pre-wrap;display:block;min-width:20rem;max-width:34rem}.people .why{display:block;min-width:9rem}
@media (max-width:40rem){.bar{width:5rem}th,td{padding:.25rem .4rem}}
@media print{:root{color-scheme:light;--page:#fff;--card:#f6f7f9;--text:#000;--soft:#444;--edge:#bbb;--link:#0550ae;
--b0:#a63603;--b1:#e6853d;--b2:#f5d5a9;--b3:#a6cdea;--b4:#1f5f99;--t0:#fff;--t1:#000;--t2:#000;--t3:#000;--t4:#fff;--bar:#2f6fad}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}body{max-width:none;padding:0}nav,.skip{display:none}
.wide{overflow:visible}article,figure,tr{break-inside:avoid}h2,h3{break-after:avoid}}
"""
    + _INKS
)

SCRIPT = """
addEventListener("change",e=>{const n=e.target.dataset.layer;
if(n){document.getElementById(n).style.display=e.target.checked?"":"none"}});
addEventListener("beforeprint",()=>{document.querySelectorAll("details").forEach(d=>{d.open=true})});
"""
