// Data that this browser keeps across reloads of the page. A sign-out deletes all of it.
const PREFIX = "chatcluster.";

export function read(key) {
  try { return JSON.parse(localStorage.getItem(PREFIX + key)); } catch { return null; }
}

// Returns whether it was stored: the storage may be full or disabled.
export function write(key, value) {
  try { localStorage.setItem(PREFIX + key, JSON.stringify(value)); return true; } catch { return false; }
}

export function remove(key) {
  try { localStorage.removeItem(PREFIX + key); } catch { /* Nothing is kept. */ }
}

export function keys(start = "") {
  try { return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX + start)).map((key) => key.slice(PREFIX.length)); } catch { return []; }
}

export function clear() { keys().forEach(remove); }

// Another tab has signed in or out.
export function onSessionChanged(changed) {
  addEventListener("storage", ({ key }) => { if (key === null || key === `${PREFIX}session`) changed(); });
}
