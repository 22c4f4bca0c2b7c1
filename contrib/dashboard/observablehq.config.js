// Fonts, scripts and styles come from this folder and node_modules: neither the build nor a reader's browser asks another server.
const icon = encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#4f5bd5"/>' +
    '<path d="M7 21l6-7 5 4 7-9" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" stroke-linejoin="round"/></svg>'
);

const pages = [
  {name: "Overview", path: "/index"},
  {name: "Rules", path: "/rules"},
  {name: "People", path: "/people"},
  {name: "Delivery", path: "/delivery"},
];

export default {
  root: "src",
  output: "dist",
  title: "eventmkt",
  pages: pages.slice(1),
  sidebar: false,
  header: ({path}) =>
    `<nav class="top"><a class="brand" href="./">eventmkt</a>${pages
      .map((p) => `<a href=".${p.path.replace("/index", "/")}"${p.path === path ? ' aria-current="page"' : ""}>${p.name}</a>`)
      .join("")}</nav>`,
  head: `<link rel="icon" href="data:image/svg+xml,${icon}">`,
  globalStylesheets: [],
  style: "style.css",
  search: false,
  toc: false,
  pager: false,
  footer: "",
};
