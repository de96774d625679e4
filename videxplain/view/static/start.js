// The page of the local server: its token is in the address, and goes with every question.

import { mount, served } from "./page.js";

mount(document.getElementById("page"), served(new URLSearchParams(location.search).get("token") ?? ""));
