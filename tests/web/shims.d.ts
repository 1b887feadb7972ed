/** What ComfyUI's frontend serves; both are as loosely typed there. */
declare module "*/scripts/app.js" {
  export const app: any;
}
declare module "*/scripts/api.js" {
  export const api: any;
}
