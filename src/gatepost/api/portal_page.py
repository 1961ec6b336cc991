"""The page behind a portal's link: an app's endpoints and what was sent to them. Nothing is loaded from elsewhere.

All that is shown goes in as text, never as HTML. The token stays in the page's memory: it is taken out of the address.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

_SCRIPT: Final = """
'use strict';
const main = document.querySelector('main');
const note = document.querySelector('#note');
let key = {};
try { key = JSON.parse(atob(location.hash.slice(5).replace(/-/g, '+').replace(/_/g, '/'))); } catch {}
history.replaceState(null, '', location.pathname);
const base = '/api/v1/app/' + encodeURIComponent(key.appId || '');

async function call(method, path, body) {
  const headers = {Authorization: 'Bearer ' + key.token};
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, {method, headers, body: body && JSON.stringify(body)});
  const text = await answer.text();
  const data = text ? JSON.parse(text) : {};
  if (answer.ok) return data;
  const detail = Array.isArray(data.detail) ? data.detail.map(each => each.msg).join('; ') : data.detail;
  throw new Error(detail || answer.status);
}
function make(name, text, ...inside) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...inside);
  return node;
}
function button(text, act) {
  const node = make('button', text);
  node.onclick = () => run(act);
  return node;
}
async function run(act) {
  note.textContent = '';
  try { await act(); } catch (error) { note.textContent = error.message; }
}
async function attempts(endpoint, into) {
  const page = await call('GET', `${base}/attempt/endpoint/${endpoint.id}?limit=20&with_content=false`);
  const rows = page.data.map(each => make('tr', '', make('td', each.timestamp), make('td', each.msgId),
    make('td', `${each.statusText} ${each.responseStatusCode || ''}`),
    make('td', '', button('Send again',
      () => call('POST', `${base}/msg/${each.msgId}/endpoint/${endpoint.id}/resend`)))));
  into.replaceChildren(rows.length ? make('table', '', ...rows) : make('p', 'Nothing was sent yet.'));
}
function shown(endpoint) {
  const path = `${base}/endpoint/${endpoint.id}`;
  const below = make('div');
  const types = (endpoint.eventTypes || ['every event type']).join(', ');
  return make('section', '', make('h2', endpoint.url), make('p', endpoint.description),
    make('p', `${types}${endpoint.disabled ? ', disabled' : ''}`),
    button('Attempts', () => attempts(endpoint, below)),
    button('Secret', async () => below.replaceChildren(make('code', (await call('GET', path + '/secret')).key))),
    button(endpoint.disabled ? 'Enable' : 'Disable',
      async () => { await call('PATCH', path, {disabled: !endpoint.disabled}); await list(); }),
    button('Delete', async () => {
      if (confirm('Delete this endpoint?')) { await call('DELETE', path); await list(); }
    }),
    below);
}
async function list() {
  const app = await call('GET', base);
  const page = await call('GET', `${base}/endpoint?limit=250`);
  document.querySelector('h1').textContent = app.name;
  main.replaceChildren(...page.data.map(shown));
}
document.querySelector('form').onsubmit = event => {
  event.preventDefault();
  const url = event.target.elements.url;
  run(async () => { await call('POST', base + '/endpoint', {url: url.value}); url.value = ''; await list(); });
};
if (key.token) run(list); else note.textContent = 'This page is opened by a link that carries its token.';
"""

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
section { border: 1px solid #8884; border-radius: .4rem; margin: .5rem 0; padding: 0 .8rem .8rem; }
h2 { font-size: 1rem; overflow-wrap: anywhere; } td { padding-right: 1rem; } button { margin-right: .5rem; }
input { width: 60%; } #note { color: #c33; }
"""

PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Webhooks</title>'
    f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    '<h1>Webhooks</h1><p id="note" role="alert"></p><main></main>'
    '<form><label>New endpoint <input name="url" type="url" required placeholder="https://…"></label>'
    f"<button>Add</button></form><script>{_SCRIPT}</script>"
)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; connect-src 'self'; script-src {_hash(_SCRIPT)}; "
    f"style-src {_hash(_STYLE)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
