import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const server = { target: "http://127.0.0.1:8000", ws: true };

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
  // The development server bundles what is imported, but no workers.
  optimizeDeps: {
    exclude: ["graphiql/setup-workers/vite", "@graphiql/react/setup-workers/vite"],
  },
  server: {
    proxy: {
      "/graphql/": server,
      "/admin/": server,
      "/login/": server,
      "/static/": server,
    },
  },
});
