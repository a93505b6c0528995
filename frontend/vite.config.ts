import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  build: {
    // Nothing inline: the pages' Content-Security-Policy allows files of their own origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 8000, // Monaco, in the playground
    rolldownOptions: {
      input: ["board.html", "playground.html"],
      checks: { moduleLevelDirective: false }, // "use no memo", in GraphiQL
    },
  },
  server: { proxy: { "/graphql/": { target: server, ws: true }, "/admin/": server } },
});
