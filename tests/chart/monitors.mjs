// Checks documents of the Prometheus operator against its models: node monitors.mjs NODE_MODULES < documents.json
// Prints a line for each that does not hold, and ends with exit code 3 then.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const models = await import(
  pathToFileURL(join(process.argv[2], "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js"))
);
let wrong = 0;
for (const document of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    new models[document.kind](document).validate();
  } catch (error) {
    wrong += 1;
    console.log(`${document.kind} ${document.metadata?.name}: ${error.message}`);
  }
}
process.exit(wrong ? 3 : 0);
